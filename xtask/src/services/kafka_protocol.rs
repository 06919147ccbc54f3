//! As much of Kafka's protocol as asking for its state and deleting a topic take.
//!
//! Requests are those of the oldest versions that Kafka 4 still answers
//! (<https://kafka.apache.org/protocol>): integers are big-endian, strings and arrays have their length in front.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};

use crate::http::connect;

const METADATA: (i16, i16) = (3, 4);
const DELETE_TOPICS: (i16, i16) = (20, 1);

const UNKNOWN_TOPIC: i16 = 3;

/// No answer to one of our questions is longer; more means that it is no Kafka.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How many brokers are ready for clients.
pub(super) fn brokers(address: &str) -> Result<i32> {
    // No topics; do not create any.
    let answer = ask(address, METADATA, &[0, 0, 0, 0, 0])?;
    // The time that we were held back stands in front.
    integer(&answer, 4)
}

/// Deletes a topic; returns whether there was one.
pub(super) fn delete_topic(address: &str, topic: &str) -> Result<bool> {
    let mut question = 1_i32.to_be_bytes().to_vec();
    string(&mut question, topic)?;
    question.extend(10_000_i32.to_be_bytes());
    let answer = ask(address, DELETE_TOPICS, &question)?;
    // Behind the time that we were held back: the number of topics, their names and codes.
    let code = answer.get(4 + 4 + 2 + topic.len()..).unwrap_or_default();
    match code {
        [0, 0] => Ok(true),
        [high, low] if i16::from_be_bytes([*high, *low]) == UNKNOWN_TOPIC => Ok(false),
        _ => bail!("Kafka refuses to delete topic {topic} (error code {code:?})"),
    }
}

/// Sends one request and returns the answer behind its header.
fn ask(address: &str, (kind, version): (i16, i16), question: &[u8]) -> Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(&request(kind, version, question)?)?;
    let mut length = [0; 4];
    stream
        .read_exact(&mut length)
        .with_context(|| format!("{address} does not answer"))?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(
        (4..=ANSWER_BYTES_MAX).contains(&length),
        "{address} does not answer as Kafka does"
    );
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    // The correlation id: one question a connection needs none.
    answer.drain(..4);
    Ok(answer)
}

fn request(kind: i16, version: i16, question: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    body.extend(kind.to_be_bytes());
    body.extend(version.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    string(&mut body, "xtask")?;
    body.extend(question);
    let mut request = i32::try_from(body.len())?.to_be_bytes().to_vec();
    request.extend(body);
    Ok(request)
}

fn string(into: &mut Vec<u8>, text: &str) -> Result<()> {
    into.extend(i16::try_from(text.len())?.to_be_bytes());
    into.extend(text.as_bytes());
    Ok(())
}

fn integer(answer: &[u8], at: usize) -> Result<i32> {
    let bytes = answer
        .get(at..at + 4)
        .context("Kafka's answer is cut off")?;
    Ok(i32::from_be_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_by_its_length() {
        let bytes = request(3, 4, &[9]).unwrap();
        assert_eq!(
            bytes,
            [
                &[0, 0, 0, 16, 0, 3, 0, 4, 0, 0, 0, 0, 0, 5][..],
                b"xtask",
                &[9]
            ]
            .concat()
        );
    }

    #[test]
    fn a_cut_off_answer_is_an_error() {
        assert_eq!(integer(&[0, 0, 0, 0, 0, 0, 0, 7], 4).unwrap(), 7);
        assert!(integer(&[0, 0, 0, 0, 0, 0], 4).is_err());
    }
}
