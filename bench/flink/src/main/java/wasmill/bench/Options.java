package wasmill.bench;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/** The command line: {@code --name value} pairs. */
record Options(
        String brokers,
        String topic,
        String url,
        String directory,
        boolean withSales,
        boolean combine,
        int parallelism,
        int rowsMax,
        long millis) {
    private static final Map<String, String> DEFAULTS =
            Map.of(
                    "sales", "false",
                    "combine", "true",
                    "parallelism", "1",
                    "max-rows", "10000",
                    "max-wait-ms", "1000");
    private static final Set<String> REQUIRED = Set.of("brokers", "topic", "url", "directory");

    static Options parse(String[] arguments) {
        Map<String, String> values = new HashMap<>(DEFAULTS);
        for (int at = 0; at < arguments.length; at += 2) {
            String name = arguments[at].replaceFirst("^--", "");
            boolean isKnown = DEFAULTS.containsKey(name) || REQUIRED.contains(name);
            if (!isKnown || at + 1 == arguments.length) {
                throw new IllegalArgumentException("not understood: " + arguments[at]);
            }
            values.put(name, arguments[at + 1]);
        }
        if (!values.keySet().containsAll(REQUIRED)) {
            throw new IllegalArgumentException("needed: " + REQUIRED + ", got " + Arrays.toString(arguments));
        }
        return new Options(
                values.get("brokers"),
                values.get("topic"),
                values.get("url"),
                values.get("directory"),
                Boolean.parseBoolean(values.get("sales")),
                Boolean.parseBoolean(values.get("combine")),
                Integer.parseInt(values.get("parallelism")),
                Integer.parseInt(values.get("max-rows")),
                Long.parseLong(values.get("max-wait-ms")));
    }
}
