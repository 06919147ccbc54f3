package wasmill.bench;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;

/** Amounts in US dollars, rounded half to even, exactly: in scaled integers. Counts what it has seen. */
final class Conversion extends RichMapFunction<Sale, Sale> {
    /** The accumulator that has the number of sales. */
    static final String RECORDS = "records";

    /** When the first sale of this process came, by {@link System#nanoTime}; 0 before. */
    static final AtomicLong FIRST_RECORD = new AtomicLong();

    /** What the process had used of the processors then, ns. */
    static final AtomicLong FIRST_RECORD_CPU = new AtomicLong();

    /** Digits after the point of a rate. */
    private static final int RATE_SCALE = 4;

    private static final long UNIT = 10_000;

    private final Map<String, Long> rates;
    private final LongCounter records = new LongCounter();

    /** {@code euro} is the price of a euro in US dollars, {@code 1.08}. */
    Conversion(String euro) {
        rates = Map.of("USD", UNIT, "EUR", scaled(euro), "GBP", scaled("1.27"));
    }

    private static long scaled(String rate) {
        BigDecimal scaled = new BigDecimal(rate).setScale(RATE_SCALE, RoundingMode.UNNECESSARY);
        return scaled.unscaledValue().longValueExact();
    }

    @Override
    public void open(OpenContext context) {
        getRuntimeContext().addAccumulator(RECORDS, records);
    }

    @Override
    public Sale map(Sale sale) {
        if (records.getLocalValuePrimitive() == 0
                && FIRST_RECORD.compareAndSet(0, System.nanoTime())) {
            FIRST_RECORD_CPU.set(Process.cpuNanos());
        }
        records.add(1);
        Long rate = rates.get(sale.currency);
        if (rate == null) {
            throw new IllegalArgumentException("there is no rate for " + sale.currency);
        }
        sale.totalAmountBase = divideHalfEven(Math.multiplyExact(sale.totalAmount, rate));
        return sale;
    }

    private static long divideHalfEven(long product) {
        long quotient = Math.floorDiv(product, UNIT);
        long twice = 2 * Math.floorMod(product, UNIT);
        boolean up = twice > UNIT || (twice == UNIT && (quotient & 1) == 1);
        return up ? quotient + 1 : quotient;
    }
}
