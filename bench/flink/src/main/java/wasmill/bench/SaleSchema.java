package wasmill.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.math.RoundingMode;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;

/** JSON to {@link Sale}, by the streaming parser: there is no tree. */
public final class SaleSchema extends AbstractDeserializationSchema<Sale> {
    private static final int CENTS_SCALE = 2;

    private transient JsonFactory json;
    private transient Sale sale;

    @Override
    public void open(InitializationContext context) {
        json = new JsonFactory();
        sale = new Sale();
    }

    @Override
    public Sale deserialize(byte[] message) throws IOException {
        try (JsonParser parser = json.createParser(message)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String field = parser.currentName();
                parser.nextToken();
                take(field, parser);
            }
        }
        return sale;
    }

    private void take(String field, JsonParser value) throws IOException {
        switch (field) {
            case "transactionId" -> sale.transactionId = value.getText();
            case "productId" -> sale.productId = value.getText();
            case "productName" -> sale.productName = value.getText();
            case "productCategory" -> sale.productCategory = value.getText();
            case "productPrice" -> sale.productPrice = cents(value);
            case "productQuantity" -> sale.productQuantity = value.getLongValue();
            case "productBrand" -> sale.productBrand = value.getText();
            case "currency" -> sale.currency = value.getText();
            case "customerId" -> sale.customerId = value.getText();
            case "transactionDate" -> sale.transactionDate = moment(value);
            case "paymentMethod" -> sale.paymentMethod = value.getText();
            case "totalAmount" -> sale.totalAmount = cents(value);
            default -> value.skipChildren();
        }
    }

    private static long moment(JsonParser value) throws IOException {
        return value.currentToken() == JsonToken.VALUE_NUMBER_INT
                ? value.getLongValue() * 1_000
                : Moments.parse(value.getText());
    }

    private static long cents(JsonParser value) throws IOException {
        return value.getDecimalValue()
                .setScale(CENTS_SCALE, RoundingMode.HALF_EVEN)
                .unscaledValue()
                .longValueExact();
    }
}
