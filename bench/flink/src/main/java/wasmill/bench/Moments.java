package wasmill.bench;

import java.time.LocalDate;

/** ISO 8601 without {@code java.time.format}, which takes longer than the rest of a record. */
final class Moments {
    private static final long MICROS_PER_SECOND = 1_000_000L;
    static final long MICROS_PER_DAY = 86_400L * MICROS_PER_SECOND;

    private Moments() {}

    /**
     * Microseconds since 1970 of {@code 2024-02-29T23:59:59[.fraction][Z|±hh:mm|±hhmm]}; without a zone it
     * is UTC.
     */
    static long parse(String text) {
        long day =
                LocalDate.of(digits(text, 0, 4), digits(text, 5, 7), digits(text, 8, 10)).toEpochDay();
        long seconds =
                digits(text, 11, 13) * 3_600L + digits(text, 14, 16) * 60L + digits(text, 17, 19);
        long micros = 0;
        int at = 19;
        if (at < text.length() && text.charAt(at) == '.') {
            int unit = 100_000;
            for (at++; at < text.length() && Character.isDigit(text.charAt(at)); at++) {
                micros += (long) unit * (text.charAt(at) - '0');
                unit /= 10;
            }
        }
        seconds -= 60L * zoneMinutes(text, at);
        return day * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + micros;
    }

    private static int zoneMinutes(String text, int at) {
        if (at >= text.length() || text.charAt(at) == 'Z') {
            return 0;
        }
        int minutesAt = text.charAt(at + 3) == ':' ? at + 4 : at + 3;
        int minutes = digits(text, at + 1, at + 3) * 60 + digits(text, minutesAt, minutesAt + 2);
        return text.charAt(at) == '-' ? -minutes : minutes;
    }

    private static int digits(String text, int begin, int end) {
        int number = 0;
        for (int at = begin; at < end; at++) {
            int digit = text.charAt(at) - '0';
            if (digit < 0 || digit > 9) {
                throw new IllegalArgumentException("not a moment: " + text);
            }
            number = number * 10 + digit;
        }
        return number;
    }
}
