//! A topic that is not there yet.

use super::Pipeline;
use crate::support::kafka;

#[test]
fn a_topic_that_is_not_there_yet_is_waited_for() {
    let mut pipeline = Pipeline::on(&kafka(), "");
    let run = pipeline.start();
    let expected = format!(
        "failed to reach Kafka at {}: topic {} does not exist yet",
        pipeline.brokers, pipeline.name
    );
    for path in ["/readyz", "/api/status"] {
        pipeline.ask(path, |answer| {
            let answer = answer.json();
            let first = answer["waiting_for"].get(0)?;
            assert_eq!(first["part"], "source");
            (first["reason"] == expected.as_str()).then_some(())
        });
    }
    pipeline.wait("the log has it", || {
        let log = pipeline.log();
        log.contains("waiting for a server") && log.contains(&expected)
    });
    pipeline.topic.make(2, &[]);
    pipeline.write(1, 20);
    pipeline.wait_for_all();
    pipeline.wait_until_ready();
    assert!(
        pipeline.log().contains("the wait is over"),
        "{}",
        pipeline.log()
    );
    run.stop(&pipeline);
    pipeline.assert_exact();
}
