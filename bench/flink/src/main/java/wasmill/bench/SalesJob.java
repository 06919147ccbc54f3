package wasmill.bench;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.streaming.api.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** The job: Kafka, JSON, conversion, four aggregates, PostgreSQL. Exactly once into upserted tables. */
final class SalesJob {
    private static final long CHECKPOINT_MILLIS = 30_000;

    private SalesJob() {}

    /** The job; {@code bounded} ends where the topic ends now. {@code euro} is a rate. */
    static JobGraph graph(Options options, boolean bounded, String euro) {
        Configuration configuration = new Configuration();
        configuration.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        configuration.set(
                CheckpointingOptions.CHECKPOINTS_DIRECTORY, options.directory() + "/checkpoints");
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(options.parallelism());
        environment.getConfig().enableObjectReuse();
        environment.enableCheckpointing(CHECKPOINT_MILLIS, CheckpointingMode.EXACTLY_ONCE);

        DataStream<Sale> sales =
                environment
                        .fromSource(
                                source(options, bounded), WatermarkStrategy.noWatermarks(), "sales")
                        .uid("source")
                        .map(new Conversion(euro))
                        .uid("conversion")
                        .returns(Sale.class);
        for (Grouping grouping : Grouping.values()) {
            aggregate(sales, grouping, options);
        }
        if (options.withSales()) {
            sales.sinkTo(Tables.sales(options.url(), options.rowsMax(), options.millis()))
                    .uid("transactions");
        }
        return environment.getStreamGraph().getJobGraph();
    }

    private static KafkaSource<Sale> source(Options options, boolean bounded) {
        KafkaSourceBuilder<Sale> builder =
                KafkaSource.<Sale>builder()
                        .setBootstrapServers(options.brokers())
                        .setTopics(options.topic())
                        .setGroupId("bench-flink")
                        .setStartingOffsets(OffsetsInitializer.earliest())
                        .setValueOnlyDeserializer(new SaleSchema())
                        .setProperty("max.poll.records", "10000")
                        .setProperty("max.partition.fetch.bytes", "8388608")
                        .setProperty("check.crcs", "false");
        if (bounded) {
            builder.setBounded(OffsetsInitializer.latest());
        }
        return builder.build();
    }

    private static void aggregate(DataStream<Sale> sales, Grouping grouping, Options options) {
        TypeInformation<Totals> type = TypeInformation.of(Totals.class);
        // Without combining, each sale is a partial of its own.
        int records = options.combine() ? options.rowsMax() : 1;
        SingleOutputStreamOperator<Totals> totals =
                sales.transform(
                                "combine " + grouping,
                                type,
                                new Combine(grouping, records, options.millis()))
                        .uid("combine " + grouping)
                        .keyBy(Merge::keyOf, Types.STRING)
                        .process(new Merge())
                        .uid("merge " + grouping)
                        .returns(type);
        totals.sinkTo(Tables.totals(grouping, options.url(), options.rowsMax(), options.millis()))
                .uid(grouping.table);
    }
}
