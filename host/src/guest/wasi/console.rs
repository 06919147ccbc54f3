//! What guests print: lines to the log, in bounded amounts.

use std::sync::Arc;

/// Bytes of a line; longer ones are cut.
const LINE_BYTES_MAX: usize = 1024;
/// Bytes that reach the log in one call; what goes beyond is dropped, which is said once.
const CALL_BYTES_MAX: usize = 8192;
/// Bytes of stderr that are kept for the message of a trap.
const LAST_WORDS_BYTES_MAX: usize = 1024;

/// An output stream of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The number that its resource handles carry.
    pub(super) fn handle(self) -> u32 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    pub(super) fn from_handle(handle: u32) -> Self {
        if handle == Self::Stderr.handle() {
            Self::Stderr
        } else {
            Self::Stdout
        }
    }
}

/// Both output streams of an instance.
#[derive(Debug)]
pub(in super::super) struct Console {
    component: Arc<str>,
    stage: Arc<str>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// bytes that still go to the log in this call
    budget: usize,
    last_words: String,
}

impl Console {
    pub(in super::super) fn new(component: &Arc<str>, stage: &str) -> Self {
        Self {
            component: component.clone(),
            stage: stage.into(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            budget: CALL_BYTES_MAX,
            last_words: String::new(),
        }
    }

    pub(in super::super) fn begin_call(&mut self) {
        self.budget = CALL_BYTES_MAX;
        self.last_words.clear();
    }

    /// Logs what has no line end yet.
    pub(in super::super) fn end_call(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.line(stream).is_empty() {
                self.finish_line(stream);
            }
        }
    }

    /// The last that was written to stderr in this call.
    pub(in super::super) fn last_words(&self) -> &str {
        &self.last_words
    }

    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let line = self.line(stream);
            let room = LINE_BYTES_MAX - line.len();
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.finish_line(stream);
            }
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn finish_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if stream == Stream::Stderr {
            self.remember(text);
        }
        self.log(stream, text);
        // The allocation serves the next line.
        *self.line(stream) = line;
        self.line(stream).clear();
    }

    fn log(&mut self, stream: Stream, text: &str) {
        let (component, stage) = (&*self.component, &*self.stage);
        if text.is_empty() || self.budget == 0 {
            return;
        }
        let Some(left) = self.budget.checked_sub(text.len()) else {
            self.budget = 0;
            tracing::warn!(
                component,
                stage,
                "the rest of what the guest prints in this call is dropped"
            );
            return;
        };
        self.budget = left;
        match stream {
            Stream::Stdout => tracing::info!(component, stage, "{text}"),
            Stream::Stderr => tracing::warn!(component, stage, "{text}"),
        }
    }

    fn remember(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if !self.last_words.is_empty() {
            self.last_words.push(' ');
        }
        self.last_words.push_str(text);
        let surplus = self.last_words.len().saturating_sub(LAST_WORDS_BYTES_MAX);
        if surplus > 0 {
            let start = self.last_words.ceil_char_boundary(surplus);
            self.last_words.drain(..start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console {
        let mut console = Console::new(&"c".into(), "s");
        console.begin_call();
        console
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut console = console();
        console.write(Stream::Stderr, b"thread 'm");
        console.write(Stream::Stderr, b"ain' panicked:\nwhy");
        assert_eq!(console.last_words(), "thread 'main' panicked:");
        console.end_call();
        assert_eq!(console.last_words(), "thread 'main' panicked: why");
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_bound() {
        let mut console = console();
        for _ in 0..1000 {
            console.write(Stream::Stdout, &[b'x'; 500]);
        }
        assert_eq!(console.stdout.len(), LINE_BYTES_MAX);
        assert_eq!(console.budget, CALL_BYTES_MAX);
    }

    #[test]
    fn printing_without_end_stops_reaching_the_log() {
        let mut console = console();
        for _ in 0..1000 {
            console.write(Stream::Stdout, b"and on and on\n");
        }
        assert_eq!(console.budget, 0);
        console.begin_call();
        assert_eq!(console.budget, CALL_BYTES_MAX);
    }

    #[test]
    fn the_last_words_are_the_last_and_stay_text() {
        let mut console = console();
        for _ in 0..200 {
            console.write(Stream::Stderr, "ééééé\n".as_bytes());
        }
        console.write(Stream::Stderr, b"\xff the end\n");
        assert!(console.last_words().len() <= LAST_WORDS_BYTES_MAX);
        assert!(console.last_words().ends_with("\u{fffd} the end"));
    }
}
