package wasmill.bench;

/** What the sales of a group come to. */
public final class Totals {
    /** The first day of the window, since 1970. */
    public int window;
    /** What else tells groups apart; empty where nothing does. */
    public String key;
    /** Hundredths of a US dollar. */
    public long cents;
    public long count;

    public Totals() {}

    Totals(int window, String key, long cents, long count) {
        this.window = window;
        this.key = key;
        this.cents = cents;
        this.count = count;
    }

    void add(long moreCents, long more) {
        cents = Math.addExact(cents, moreCents);
        count += more;
    }
}
