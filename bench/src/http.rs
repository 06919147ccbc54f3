//! As much HTTP/1.1 as bulks on one connection take: requests with a body, answers of known or chunked length.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A connection that is kept open.
pub(crate) struct Connection {
    authority: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// To the server of an `http://` URL.
    pub(crate) fn open(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://");
        let rest = rest.with_context(|| format!("{url} is no http:// URL"))?;
        let authority = rest.split('/').next().unwrap_or(rest).to_owned();
        let stream = TcpStream::connect(&authority)
            .with_context(|| format!("failed to connect to {authority}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            authority,
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request, and returns the body of its answer.
    ///
    /// # Errors
    ///
    /// A status other than 200, and whatever is no HTTP.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let (status, body) = read_answer(&mut self.stream)?;
        ensure!(
            status == 200,
            "{method} {path} failed with {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

/// Status and body.
fn read_answer(stream: &mut impl BufRead) -> anyhow::Result<(u16, Vec<u8>)> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("`{first}` is no HTTP"))?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("transfer-encoding", value)) => is_chunked = value.trim() == "chunked",
            Some(_) => {}
            None if header.is_empty() => break,
            None => bail!("`{header}` is no header"),
        }
    }
    let mut body = Vec::new();
    if !is_chunked {
        read_part(stream, length, &mut body)?;
        return Ok((status, body));
    }
    loop {
        let size = line(stream)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)?;
        read_part(stream, size, &mut body)?;
        line(stream)?;
        if size == 0 {
            return Ok((status, body));
        }
    }
}

fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line)? > 0, "the server hung up");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_part(stream: &mut impl BufRead, bytes: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
    let read = stream.take(bytes as u64).read_to_end(body)?;
    ensure!(read == bytes, "the server hung up");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        read_answer(&mut answer.as_bytes())
    }

    #[test]
    fn answers_have_a_length_or_chunks() {
        let known = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd";
        assert_eq!(read(known).unwrap(), (200, b"abc".to_vec()));
        let chunked =
            "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap(), (404, b"abc".to_vec()));
    }

    #[test]
    fn half_an_answer_is_none() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").is_err());
        assert!(read("HTTP/1.1 200 OK\r\n").is_err());
        assert!(read("").is_err());
    }
}
