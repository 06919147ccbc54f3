package wasmill.bench;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** The tables, as wasmill makes them. */
final class Tables {
    private static final List<String> SALE =
            List.of(
                    "transaction_id text primary key",
                    "product_id text not null",
                    "product_name text not null",
                    "product_category text not null",
                    "product_price numeric(18,2) not null",
                    "product_quantity bigint not null",
                    "product_brand text not null",
                    "currency text not null",
                    "customer_id text not null",
                    "transaction_date timestamp with time zone not null",
                    "payment_method text not null",
                    "total_amount numeric(18,2) not null",
                    "total_amount_base numeric(18,2) not null");

    private Tables() {}

    /** Makes those that are missing. */
    static void create(String url, boolean withSales) throws SQLException {
        try (Connection connection = DriverManager.getConnection(url);
                Statement statement = connection.createStatement()) {
            if (withSales) {
                String columns = String.join(", ", SALE);
                statement.execute("CREATE TABLE IF NOT EXISTS transactions (" + columns + ")");
            }
            for (Grouping grouping : Grouping.values()) {
                statement.execute(
                        "CREATE TABLE IF NOT EXISTS %s (%s, total_sales numeric(18,2) NOT NULL, transactions bigint NOT NULL, PRIMARY KEY (%s))"
                                .formatted(
                                        grouping.table, grouping.keyDefinition, grouping.keyColumns));
            }
        }
    }

    /** Where the sales themselves go. */
    static Upserts<Sale, Object[]> sales(String url, int rowsMax, long millis) {
        List<String> columns = new ArrayList<>();
        SALE.forEach(column -> columns.add(column.substring(0, column.indexOf(' '))));
        String upsert = upsert("transactions", columns, List.of("transaction_id"));
        return new Upserts<>(url, upsert, new SaleRows(), rowsMax, millis);
    }

    /** Where the totals of an aggregate go. */
    static Upserts<Totals, Object[]> totals(
            Grouping grouping, String url, int rowsMax, long millis) {
        List<String> key = Arrays.asList(grouping.keyColumns.split(", "));
        List<String> columns = new ArrayList<>(key);
        columns.addAll(List.of("total_sales", "transactions"));
        String upsert = upsert(grouping.table, columns, key);
        return new Upserts<>(url, upsert, new TotalsRows(grouping), rowsMax, millis);
    }

    private static String upsert(String table, List<String> columns, List<String> key) {
        String updates =
                columns.stream()
                        .filter(column -> !key.contains(column))
                        .map(column -> column + " = EXCLUDED." + column)
                        .collect(Collectors.joining(", "));
        return "INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s"
                .formatted(
                        table,
                        String.join(", ", columns),
                        columns.stream().map(column -> "?").collect(Collectors.joining(", ")),
                        String.join(", ", key),
                        updates);
    }

    private static void bindAll(PreparedStatement statement, Object[] row) throws SQLException {
        for (int column = 0; column < row.length; column++) {
            statement.setObject(column + 1, row[column]);
        }
    }

    private record SaleRows() implements Upserts.Rows<Sale, Object[]> {
        @Override
        public Object key(Sale sale) {
            return sale.transactionId;
        }

        @Override
        public Object[] row(Sale sale) {
            return new Object[] {
                sale.transactionId,
                sale.productId,
                sale.productName,
                sale.productCategory,
                BigDecimal.valueOf(sale.productPrice, 2),
                sale.productQuantity,
                sale.productBrand,
                sale.currency,
                sale.customerId,
                Instant.EPOCH.plus(sale.transactionDate, ChronoUnit.MICROS).atOffset(ZoneOffset.UTC),
                sale.paymentMethod,
                BigDecimal.valueOf(sale.totalAmount, 2),
                BigDecimal.valueOf(sale.totalAmountBase, 2)
            };
        }

        @Override
        public void bind(PreparedStatement statement, Object[] row) throws SQLException {
            bindAll(statement, row);
        }
    }

    private record TotalsRows(Grouping grouping) implements Upserts.Rows<Totals, Object[]> {
        @Override
        public Object key(Totals totals) {
            return Merge.keyOf(totals);
        }

        @Override
        public Object[] row(Totals totals) {
            LocalDate window = LocalDate.ofEpochDay(totals.window);
            BigDecimal sum = BigDecimal.valueOf(totals.cents, 2);
            return switch (grouping) {
                case DAY -> new Object[] {window, sum, totals.count};
                case MONTH ->
                        new Object[] {window.getYear(), window.getMonthValue(), sum, totals.count};
                case CATEGORY, CURRENCY ->
                        new Object[] {window, totals.key, sum, totals.count};
            };
        }

        @Override
        public void bind(PreparedStatement statement, Object[] row) throws SQLException {
            bindAll(statement, row);
        }
    }
}
