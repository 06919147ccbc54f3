package wasmill.bench;

/** A sale. One object is filled again and again: everybody downstream copies what it keeps. */
public final class Sale {
    public String transactionId;
    public String productId;
    public String productName;
    public String productCategory;
    /** Hundredths. */
    public long productPrice;
    public long productQuantity;
    public String productBrand;
    public String currency;
    public String customerId;
    /** Microseconds since 1970, UTC. */
    public long transactionDate;
    public String paymentMethod;
    /** Hundredths, in {@link #currency}. */
    public long totalAmount;
    /** Hundredths, in US dollars. */
    public long totalAmountBase;
}
