//! What the test programs counted.

/// Tests of all programs together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Outcome {
    /// Adds what a line of output says, if it is the summary of a test program:
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s`.
    pub(super) fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        // The word in front of the counts ends with a full stop: "ok." or "FAILED.".
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> String {
        let mut outcome = Outcome::default();
        for line in lines {
            outcome.read(line);
        }
        outcome.to_string()
    }

    #[test]
    fn the_programs_are_summed_up() {
        let text = read(&[
            "running 14 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s",
            "",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ]);
        assert_eq!(text, "13 passed, 2 failed");
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let text = read(&[
            "test tests::says_5 passed ... ok",
            "the test result: ok. 5 passed; 5 failed;",
            "test result: ",
            "test result: ok. many passed; -1 failed",
        ]);
        assert_eq!(text, "0 passed, 0 failed");
    }
}
