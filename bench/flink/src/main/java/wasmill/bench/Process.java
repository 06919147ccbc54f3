package wasmill.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;

/** What this process has used. */
final class Process {
    private static final long NANOS_PER_MILLI = 1_000_000L;
    private static final long BYTES_PER_KB = 1_024L;

    private Process() {}

    /** Of the processors, by all threads, the start included, ns. */
    static long cpuNanos() {
        OperatingSystemMXBean system =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime();
    }

    /** How old the JVM was at a moment of {@link System#nanoTime}, ns. */
    static long age(long moment) {
        long now = ManagementFactory.getRuntimeMXBean().getUptime() * NANOS_PER_MILLI;
        return now - (System.nanoTime() - moment);
    }

    /** The most resident memory, bytes. */
    static long memoryPeak() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * BYTES_PER_KB;
            }
        }
        throw new IOException("/proc/self/status does not tell the peak of memory");
    }
}
