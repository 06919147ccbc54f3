package wasmill.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Adds to the state of a group, and says what it is then. */
final class Merge extends KeyedProcessFunction<String, Totals, Totals> {
    private transient ValueState<Totals> state;

    @Override
    public void open(OpenContext context) {
        state = getRuntimeContext().getState(new ValueStateDescriptor<>("totals", Totals.class));
    }

    @Override
    public void processElement(Totals more, Context context, Collector<Totals> out)
            throws Exception {
        Totals totals = state.value();
        if (totals == null) {
            totals = new Totals(more.window, more.key, 0, 0);
        }
        totals.add(more.cents, more.count);
        state.update(totals);
        out.collect(totals);
    }

    static String keyOf(Totals totals) {
        return totals.window + totals.key;
    }
}
