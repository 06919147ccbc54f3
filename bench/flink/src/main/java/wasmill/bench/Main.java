package wasmill.bench;

import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.JobID;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;

/**
 * Runs the job in this process, and prints one line of JSON in the end.
 *
 * <ul>
 *   <li>{@code run}: over what the topic has now;
 *   <li>{@code change}: endlessly, until it has been stopped with a savepoint and started from it with another
 *       rate, in the same cluster, which is the quickest way that Flink has.
 * </ul>
 */
public final class Main {
    private static final String EURO = "1.08";
    private static final String EURO_CHANGED = "1.09";
    /** How long the job runs before it is changed. */
    private static final long SETTLE_MILLIS = 5_000;

    private static final long LOOK_MILLIS = 2;
    private static final long NANOS = 1_000_000_000L;

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        String mode = arguments.length == 0 ? "" : arguments[0];
        Options options =
                Options.parse(
                        Arrays.copyOfRange(arguments, Math.min(1, arguments.length), arguments.length));
        Tables.create(options.url(), options.withSales());
        try (MiniCluster cluster = new MiniCluster(cluster(options))) {
            cluster.start();
            switch (mode) {
                case "run" -> run(cluster, options);
                case "change" -> change(cluster, options);
                default -> throw new IllegalArgumentException("run or change, not " + mode);
            }
        }
    }

    private static MiniClusterConfiguration cluster(Options options) {
        Configuration configuration = new Configuration();
        configuration.set(RestOptions.BIND_PORT, "0");
        // States are objects on the heap.
        configuration.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(1));
        return new MiniClusterConfiguration.Builder()
                .setConfiguration(configuration)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(options.parallelism())
                .build();
    }

    private static void run(MiniCluster cluster, Options options) throws Exception {
        JobGraph job = SalesJob.graph(options, true, EURO);
        JobExecutionResult result = cluster.executeJobBlocking(job);
        long end = System.nanoTime();
        long records = result.getAccumulatorResult(Conversion.RECORDS);
        long first = Conversion.FIRST_RECORD.get();
        long startCpu = Conversion.FIRST_RECORD_CPU.get();
        print(
                "{\"records\":%d,\"wall\":%.3f,\"cpu\":%.3f,\"start\":%.3f,\"start_cpu\":%.3f,"
                        + "\"memory_peak\":%d,\"first_row\":%.3f}",
                records,
                seconds(end - first),
                seconds(Process.cpuNanos() - startCpu),
                seconds(Process.age(first)),
                seconds(startCpu),
                Process.memoryPeak(),
                seconds(Process.age(Upserts.FIRST_COMMIT.get())));
    }

    private static void change(MiniCluster cluster, Options options) throws Exception {
        JobGraph before = SalesJob.graph(options, false, EURO);
        JobID running = cluster.submitJob(before).get().getJobID();
        await(Upserts.FIRST_COMMIT);
        Thread.sleep(SETTLE_MILLIS);
        long begin = System.nanoTime();
        String savepoint =
                cluster.stopWithSavepoint(
                                running,
                                options.directory() + "/savepoints",
                                false,
                                SavepointFormatType.NATIVE)
                        .get();
        cluster.requestJobResult(running).get();
        long saved = System.nanoTime();
        Upserts.FIRST_COMMIT.set(0);
        JobGraph after = SalesJob.graph(options, false, EURO_CHANGED);
        after.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(savepoint));
        JobID changed = cluster.submitJob(after).get().getJobID();
        long committed = await(Upserts.FIRST_COMMIT);
        cluster.cancelJob(changed).get();
        print(
                "{\"stop\":%.3f,\"start\":%.3f,\"change\":%.3f}",
                seconds(saved - begin), seconds(committed - saved), seconds(committed - begin));
    }

    /** Waits until a moment has been written down. */
    private static long await(AtomicLong moment) throws InterruptedException {
        while (moment.get() == 0) {
            Thread.sleep(LOOK_MILLIS);
        }
        return moment.get();
    }

    private static double seconds(long nanos) {
        return (double) nanos / NANOS;
    }

    private static void print(String format, Object... values) {
        System.out.println(String.format(Locale.ROOT, format, values));
    }
}
