//! A page of documentation as steps that can be done.
//!
//! # What is a step
//!
//! - A line `$ command` of a `console` block is run. The lines below it are what it prints: each of
//!   them has to occur in its output, in this order; `…` stands for anything. A `\` at the end of
//!   a line carries on in the next.
//! - A block below the comment `<!-- file: PATH -->` is the content of that file.
//! - A block below `<!-- patch -->` is a change for `git apply`.
//! - Below `<!-- until: TEXT -->` the last command of a block runs until it prints TEXT; then it
//!   gets the Ctrl-C that a reader would press.
//! - Below `<!-- not run: REASON -->` a block is left out, and the reason is shown.
//!
//! The comments are not seen by whoever reads the page.

use anyhow::{Result, bail};

/// One thing that the page tells its reader to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// where it stands, from 1
    pub(super) line: usize,
    pub(super) action: Action,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Run(Command),
    Write {
        path: String,
        text: String,
    },
    Patch(String),
    LeaveOut {
        commands: Vec<String>,
        reason: String,
    },
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) text: String,
    /// what it prints, among other things
    pub(super) output: Vec<String>,
    /// press Ctrl-C when it has printed this
    pub(super) until: Option<String>,
}

/// What a comment says about the block below it.
enum Mark {
    File(String),
    Patch,
    Until(String),
    NotRun(String),
}

/// A fenced block.
struct Block {
    line: usize,
    language: String,
    text: String,
}

/// The steps of a page, in order.
///
/// # Errors
///
/// A mark without a block, a block that does not end, output before the first command.
pub(super) fn steps(markdown: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut mark: Option<(usize, Mark)> = None;
    let mut lines = markdown.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(found) = read_mark(line) {
            mark = Some((index + 1, found));
            continue;
        }
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            if let Some((at, _)) = mark.as_ref().filter(|_| !line.trim().is_empty()) {
                bail!("line {at}: the comment is not followed by a block");
            }
            continue;
        };
        let mut block = Block {
            line: index + 2,
            language: fence.trim().to_owned(),
            text: String::new(),
        };
        loop {
            let Some((_, line)) = lines.next() else {
                bail!("line {}: the block does not end", index + 1);
            };
            if line.trim() == "```" {
                break;
            }
            block.text.push_str(line);
            block.text.push('\n');
        }
        add_block(&block, mark.take().map(|(_, mark)| mark), &mut steps)?;
    }
    if let Some((at, _)) = mark {
        bail!("line {at}: the comment is not followed by a block");
    }
    Ok(steps)
}

fn read_mark(line: &str) -> Option<Mark> {
    let comment = line
        .trim()
        .strip_prefix("<!--")?
        .strip_suffix("-->")?
        .trim();
    let value = |name| {
        comment
            .strip_prefix(name)
            .map(|value: &str| value.trim().to_owned())
    };
    if comment == "patch" {
        return Some(Mark::Patch);
    }
    value("file:")
        .map(Mark::File)
        .or_else(|| value("until:").map(Mark::Until))
        .or_else(|| value("not run:").map(Mark::NotRun))
}

fn add_block(block: &Block, mark: Option<Mark>, steps: &mut Vec<Step>) -> Result<()> {
    let action = match mark {
        Some(Mark::File(path)) => Action::Write {
            path,
            text: block.text.clone(),
        },
        Some(Mark::Patch) => Action::Patch(block.text.clone()),
        Some(Mark::NotRun(reason)) => {
            let commands = commands(block)?;
            Action::LeaveOut {
                commands: commands.into_iter().map(|(_, c)| c.text).collect(),
                reason,
            }
        }
        Some(Mark::Until(text)) => {
            let mut found = commands(block)?;
            let Some((_, last)) = found.last_mut() else {
                bail!(
                    "line {}: there is no command to run until `{text}`",
                    block.line
                );
            };
            last.until = Some(text);
            steps.extend(found.into_iter().map(run));
            return Ok(());
        }
        None => {
            steps.extend(commands(block)?.into_iter().map(run));
            return Ok(());
        }
    };
    steps.push(Step {
        line: block.line,
        action,
    });
    Ok(())
}

fn run((line, command): (usize, Command)) -> Step {
    Step {
        line,
        action: Action::Run(command),
    }
}

/// The commands of a `console` block, each with the number of its line.
fn commands(block: &Block) -> Result<Vec<(usize, Command)>> {
    if block.language != "console" {
        return Ok(Vec::new());
    }
    let mut found: Vec<(usize, Command)> = Vec::new();
    let mut continues = false;
    for (index, line) in block.text.lines().enumerate() {
        let number = block.line + index;
        if let Some((_, command)) = found.last_mut().filter(|_| continues) {
            command.text.push('\n');
            command.text.push_str(line);
            continues = line.ends_with('\\');
        } else if let Some(text) = line.strip_prefix("$ ") {
            let command = Command {
                text: text.to_owned(),
                ..Command::default()
            };
            continues = text.ends_with('\\');
            found.push((number, command));
        } else if let Some((_, command)) = found.last_mut() {
            if !line.trim().is_empty() {
                command.output.push(line.trim().to_owned());
            }
        } else if !line.trim().is_empty() {
            bail!("line {number}: output stands before the first `$ command`");
        }
    }
    Ok(found)
}

/// The first line of `expected` that does not occur in `output` after the ones before it.
pub(super) fn missing<'e>(expected: &'e [String], output: &str) -> Option<&'e str> {
    let mut lines = output.lines();
    expected
        .iter()
        .find(|wanted| !lines.any(|line| fits(wanted, line)))
        .map(String::as_str)
}

/// Whether `line` has the parts of `pattern` between its `…`, in order. Runs of blanks are one blank.
fn fits(pattern: &str, line: &str) -> bool {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let pattern = pattern.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = line.as_str();
    pattern.split('…').all(|part| {
        let Some(at) = rest.find(part.trim()) else {
            return false;
        };
        rest = &rest[at + part.trim().len()..];
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(markdown: &str) -> Vec<Action> {
        let steps = steps(markdown).unwrap();
        steps.into_iter().map(|step| step.action).collect()
    }

    fn command(text: &str) -> Command {
        Command {
            text: text.to_owned(),
            ..Command::default()
        }
    }

    #[test]
    fn commands_have_the_lines_below_them_as_output() {
        let page = "Text.\n\n```console\n$ one --flag\nfirst\n\nsecond\n$ two \\\n    more\n```\n";
        let first = Command {
            output: vec!["first".to_owned(), "second".to_owned()],
            ..command("one --flag")
        };
        let second = command("two \\\n    more");
        assert_eq!(actions(page), [Action::Run(first), Action::Run(second)]);
        assert_eq!(steps(page).unwrap()[0].line, 4);
        assert_eq!(steps(page).unwrap()[1].line, 8);
    }

    #[test]
    fn other_blocks_are_no_steps() {
        assert_eq!(actions("```toml\n$ x = 1\n```\n```\n$ y\n```\n"), []);
    }

    #[test]
    fn a_marked_block_is_a_file_or_a_patch() {
        let page = "<!-- file: a/b.rs -->\n```rust\nfn main() {}\n```\n\n<!-- patch -->\n\n```diff\n-a\n+b\n```\n";
        let file = Action::Write {
            path: "a/b.rs".to_owned(),
            text: "fn main() {}\n".to_owned(),
        };
        assert_eq!(actions(page), [file, Action::Patch("-a\n+b\n".to_owned())]);
    }

    #[test]
    fn only_the_last_command_runs_until_a_text() {
        let page = "<!-- until: sum of -->\n```console\n$ one\n$ two\n```\n";
        let last = Command {
            until: Some("sum of".to_owned()),
            ..command("two")
        };
        assert_eq!(
            actions(page),
            [Action::Run(command("one")), Action::Run(last)]
        );
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        let page = "<!-- not run: it takes a year -->\n```console\n$ wait\n```\n";
        let left_out = Action::LeaveOut {
            commands: vec!["wait".to_owned()],
            reason: "it takes a year".to_owned(),
        };
        assert_eq!(actions(page), [left_out]);
    }

    #[test]
    fn a_mark_without_a_block_is_an_error() {
        assert!(steps("<!-- patch -->\ntext\n").is_err());
        assert!(steps("<!-- patch -->\n").is_err());
        assert!(steps("<!-- some remark -->\ntext\n").unwrap().is_empty());
    }

    #[test]
    fn a_block_without_an_end_and_output_without_a_command_are_errors() {
        assert!(steps("```console\n$ x\n").is_err());
        assert!(steps("```console\nout\n```\n").is_err());
    }

    #[test]
    fn expected_lines_occur_in_order_and_dots_stand_for_anything() {
        let expected = ["name   currency".to_owned(), "size … bytes".to_owned()];
        assert_eq!(
            missing(&expected, "x\nname currency 1\nsize 12 bytes\n"),
            None
        );
        assert_eq!(
            missing(&expected, "size 12 bytes\nname currency\n"),
            Some("size … bytes")
        );
        assert_eq!(missing(&expected, ""), Some("name   currency"));
    }
}
