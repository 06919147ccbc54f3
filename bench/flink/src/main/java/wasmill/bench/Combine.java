package wasmill.bench;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Adds up sales by group before they are sent to whoever keeps the group, as Flink SQL does with mini-batches:
 * without it each sale would be serialized once for each aggregate. It holds nothing across a checkpoint.
 */
final class Combine extends AbstractStreamOperator<Totals>
        implements OneInputStreamOperator<Sale, Totals>, BoundedOneInput {
    private final Grouping grouping;
    private final int records;
    private final long millis;

    private transient Map<String, Map<Integer, Totals>> groups;
    private transient int held;

    /** Sends what it has after so many records, or so long. */
    Combine(Grouping grouping, int records, long millis) {
        this.grouping = grouping;
        this.records = records;
        this.millis = millis;
    }

    @Override
    public void open() throws Exception {
        super.open();
        groups = new HashMap<>();
        getProcessingTimeService().scheduleWithFixedDelay(now -> send(), millis, millis);
    }

    @Override
    public void processElement(StreamRecord<Sale> element) {
        Sale sale = element.getValue();
        int window = grouping.window(sale);
        String key = grouping.key(sale);
        Map<Integer, Totals> windows = groups.computeIfAbsent(key, unused -> new HashMap<>());
        Totals totals = windows.get(window);
        if (totals == null) {
            totals = new Totals(window, key, 0, 0);
            windows.put(window, totals);
        }
        totals.add(sale.totalAmountBase, 1);
        if (++held >= records) {
            send();
        }
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) {
        send();
    }

    @Override
    public void endInput() {
        send();
    }

    private void send() {
        for (Map<Integer, Totals> windows : groups.values()) {
            for (Totals totals : windows.values()) {
                output.collect(new StreamRecord<>(totals));
            }
            windows.clear();
        }
        held = 0;
    }
}
