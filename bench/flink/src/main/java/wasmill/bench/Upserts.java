package wasmill.bench;

import java.io.IOException;
import java.io.Serializable;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.operators.ProcessingTimeService;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/**
 * Writes rows into a table, the newest of each key, in batches of one transaction each: after so many rows, after
 * so long, and before each checkpoint. What is written again after a failure overwrites itself.
 *
 * <p>No key is twice in a batch, so the driver may rewrite it into one statement of many rows.
 */
final class Upserts<T, R> implements Sink<T> {
    /** When the first row of this process was committed, by {@link System#nanoTime}; 0 before. */
    static final AtomicLong FIRST_COMMIT = new AtomicLong();

    /** How rows come out of elements, which their owners fill again. */
    interface Rows<T, R> extends Serializable {
        Object key(T element);

        R row(T element);

        void bind(PreparedStatement statement, R row) throws SQLException;
    }

    private final String url;
    private final String statement;
    private final Rows<T, R> rows;
    private final int rowsMax;
    private final long millis;

    Upserts(String url, String statement, Rows<T, R> rows, int rowsMax, long millis) {
        this.url = url + (url.contains("?") ? "&" : "?") + "reWriteBatchedInserts=true";
        this.statement = statement;
        this.rows = rows;
        this.rowsMax = rowsMax;
        this.millis = millis;
    }

    @Override
    @SuppressWarnings("deprecation") // the other one calls this one
    public SinkWriter<T> createWriter(InitContext context) throws IOException {
        throw new UnsupportedOperationException("the other one is called");
    }

    @Override
    public SinkWriter<T> createWriter(WriterInitContext context) throws IOException {
        try {
            return new Writer(context.getProcessingTimeService());
        } catch (SQLException error) {
            throw new IOException(error);
        }
    }

    private final class Writer implements SinkWriter<T> {
        private final Connection connection;
        private final PreparedStatement prepared;
        private final Map<Object, R> held = new LinkedHashMap<>();
        private final ProcessingTimeService time;

        Writer(ProcessingTimeService time) throws SQLException {
            connection = DriverManager.getConnection(url);
            connection.setAutoCommit(false);
            prepared = connection.prepareStatement(statement);
            this.time = time;
            schedule();
        }

        private void schedule() {
            time.registerTimer(
                    time.getCurrentProcessingTime() + millis,
                    now -> {
                        send();
                        schedule();
                    });
        }

        @Override
        public void write(T element, Context context) throws IOException {
            held.put(rows.key(element), rows.row(element));
            if (held.size() >= rowsMax) {
                send();
            }
        }

        @Override
        public void flush(boolean endOfInput) throws IOException {
            send();
        }

        private void send() throws IOException {
            if (held.isEmpty()) {
                return;
            }
            try {
                for (R row : held.values()) {
                    rows.bind(prepared, row);
                    prepared.addBatch();
                }
                prepared.executeBatch();
                connection.commit();
            } catch (SQLException error) {
                throw new IOException(error);
            }
            FIRST_COMMIT.compareAndSet(0, System.nanoTime());
            held.clear();
        }

        @Override
        public void close() throws SQLException {
            connection.close();
        }
    }
}
