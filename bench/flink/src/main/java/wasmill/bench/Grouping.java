package wasmill.bench;

import java.time.LocalDate;

/** The four aggregates: how sales are grouped, and where the totals go. */
enum Grouping {
    DAY("sales_per_day", "transaction_date date", "transaction_date"),
    MONTH("sales_per_month", "year integer, month integer", "year, month"),
    CATEGORY(
            "sales_per_category",
            "transaction_date date, category text",
            "transaction_date, category"),
    CURRENCY(
            "sales_per_currency",
            "transaction_date date, currency text",
            "transaction_date, currency");

    final String table;
    final String keyDefinition;
    final String keyColumns;

    Grouping(String table, String keyDefinition, String keyColumns) {
        this.table = table;
        this.keyDefinition = keyDefinition;
        this.keyColumns = keyColumns;
    }

    /** The first day of the sale's window. */
    int window(Sale sale) {
        int day = (int) Math.floorDiv(sale.transactionDate, Moments.MICROS_PER_DAY);
        return this == MONTH ? (int) LocalDate.ofEpochDay(day).withDayOfMonth(1).toEpochDay() : day;
    }

    String key(Sale sale) {
        return switch (this) {
            case DAY, MONTH -> "";
            case CATEGORY -> sale.productCategory;
            case CURRENCY -> sale.currency;
        };
    }
}
