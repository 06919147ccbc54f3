//! Reading our Dockerfile: the instructions that it uses, and none that it does not.
//!
//! Strict on purpose. What is not understood is refused by its line, so that `cargo xtask image` never
//! leaves out a step in silence.

use anyhow::{Context, Result, bail};

/// A Dockerfile, stage by stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    pub(super) stages: Vec<Stage>,
}

/// `FROM …` and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// `debian:bookworm-slim`
    pub(super) image: String,
    /// `AS …`
    pub(super) name: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Workdir(String),
    Env(String, String),
    Run {
        /// targets of `--mount=type=cache`
        caches: Vec<String>,
        command: String,
    },
    Copy {
        /// the stage, or the context
        from: Option<String>,
        source: String,
        target: String,
    },
    User(String),
    /// its command
    Healthcheck(Vec<String>),
    Entrypoint(Vec<String>),
    Cmd(Vec<String>),
}

impl Dockerfile {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// Names the line, and what is not understood there.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut stages: Vec<Stage> = Vec::new();
        for (number, line) in logical_lines(text) {
            let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let place = || format!("Dockerfile:{number}: {line}");
            if name == "FROM" {
                stages.push(from(rest).with_context(place)?);
                continue;
            }
            let step = step(name, rest.trim()).with_context(place)?;
            let stage = stages.last_mut().context("it begins before any FROM");
            stage.with_context(place)?.steps.push(step);
        }
        if stages.is_empty() {
            bail!("the Dockerfile has no FROM");
        }
        Ok(Self { stages })
    }
}

impl Stage {
    /// The last value that the stage sets `name` to.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        let values = self.steps.iter().rev();
        values.into_iter().find_map(|step| match step {
            Step::Env(found, value) if found == name => Some(value.as_str()),
            _ => None,
        })
    }

    /// The last USER.
    pub(super) fn user(&self) -> Option<&str> {
        let steps = self.steps.iter().rev();
        steps.into_iter().find_map(|step| match step {
            Step::User(user) => Some(user.as_str()),
            _ => None,
        })
    }

    /// Where its commands run in the end.
    pub(super) fn workdir(&self) -> &str {
        let steps = self.steps.iter().rev();
        let found = steps.into_iter().find_map(|step| match step {
            Step::Workdir(path) => Some(path.as_str()),
            _ => None,
        });
        found.unwrap_or("/")
    }
}

/// Lines with what they are continued by, without comments, and the number of their first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |l| (l, true));
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(part.trim());
        if goes_on {
            open = Some((number, joined));
        } else {
            lines.push((number, joined));
        }
    }
    lines.extend(open);
    lines
}

fn from(rest: &str) -> Result<Stage> {
    let (image, name) = match rest.split_whitespace().collect::<Vec<_>>()[..] {
        [image] => (image, None),
        [image, "AS", name] => (image, Some(name.to_owned())),
        _ => bail!("not understood; we write `FROM image` or `FROM image AS name`"),
    };
    Ok(Stage {
        image: image.to_owned(),
        name,
        steps: Vec::new(),
    })
}

fn step(name: &str, rest: &str) -> Result<Step> {
    Ok(match name {
        "WORKDIR" => Step::Workdir(absolute(rest)?),
        "ENV" => {
            let (name, value) = rest.split_once('=').context("we write ENV NAME=value")?;
            if value.contains([' ', '"', '$']) {
                bail!("one value without spaces, quotes and variables is understood");
            }
            Step::Env(name.to_owned(), value.to_owned())
        }
        "RUN" => run(rest)?,
        "COPY" => copy(rest)?,
        "USER" => Step::User(rest.to_owned()),
        "ENTRYPOINT" => Step::Entrypoint(list(rest)?),
        "CMD" => Step::Cmd(list(rest)?),
        "HEALTHCHECK" => {
            let (_, command) = rest.split_once("CMD ").context("it has no CMD")?;
            Step::Healthcheck(list(command)?)
        }
        _ => bail!("`{name}` is no instruction that `cargo xtask image` knows"),
    })
}

fn run(rest: &str) -> Result<Step> {
    const CACHE: &str = "--mount=type=cache,target=";
    let mut caches = Vec::new();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let Some(mount) = rest.strip_prefix(CACHE) else {
            bail!("`--{option}` is not understood; the one option we use is `{CACHE}…`");
        };
        let (target, command) = mount.split_once(' ').context("there is no command")?;
        caches.push(absolute(target)?);
        rest = command.trim_start();
    }
    if rest.is_empty() || rest.starts_with('[') {
        bail!("a command for the shell is understood, and nothing else");
    }
    Ok(Step::Run {
        caches,
        command: rest.to_owned(),
    })
}

fn copy(rest: &str) -> Result<Step> {
    let (from, paths) = match rest.strip_prefix("--from=") {
        Some(rest) => {
            let (stage, paths) = rest.split_once(' ').context("there is nothing to copy")?;
            (Some(stage.to_owned()), paths)
        }
        None => (None, rest),
    };
    let paths: Vec<_> = paths.split_whitespace().collect();
    match paths[..] {
        [source, target] if !rest.contains(" --") && !source.contains(['*', '?', '[']) => {
            Ok(Step::Copy {
                from,
                source: source.to_owned(),
                target: target.to_owned(),
            })
        }
        _ => bail!("we write `COPY source target`, with `--from=stage` at most"),
    }
}

fn list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).context("we write a list: [\"program\", \"argument\"]")
}

fn absolute(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.contains(' ') {
        bail!("`{path}` has to be an absolute path without spaces");
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_steps_are_read() {
        let text = "# a comment\nFROM rust:1 AS b\nWORKDIR /src\nENV A=1\nCOPY . .\n\
                    RUN --mount=type=cache,target=/src/target \\\n    # why\n    make \\\n && echo \"#\"\n\n\
                    FROM debian\nCOPY --from=b /src/x /x\nCMD [\"x\", \"y z\"]\n";
        let file = Dockerfile::parse(text).unwrap();
        let [builder, runtime] = &file.stages[..] else {
            panic!("{file:?}");
        };
        assert_eq!(
            (builder.name.as_deref(), builder.workdir()),
            (Some("b"), "/src")
        );
        assert_eq!(builder.env("A"), Some("1"));
        assert_eq!(
            builder.steps[3],
            Step::Run {
                caches: vec!["/src/target".to_owned()],
                command: "make && echo \"#\"".to_owned()
            }
        );
        assert_eq!(
            runtime.steps,
            [
                Step::Copy {
                    from: Some("b".to_owned()),
                    source: "/src/x".to_owned(),
                    target: "/x".to_owned()
                },
                Step::Cmd(vec!["x".to_owned(), "y z".to_owned()]),
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_line() {
        for (line, says) in [
            ("ADD x y", "`ADD` is no instruction"),
            ("RUN --network=none make", "is not understood"),
            ("RUN [\"make\"]", "a command for the shell"),
            ("COPY --chown=1 x y", "COPY source target"),
            ("COPY a b c/", "COPY source target"),
            ("COPY *.toml .", "COPY source target"),
            ("COPY --from=b x --chown=1 y", "COPY source target"),
            ("ENV A 1", "ENV NAME=value"),
            ("ENV A=$B", "without spaces"),
            ("CMD make", "we write a list"),
            ("WORKDIR src", "absolute"),
            ("FROM a b", "FROM image AS name"),
            ("HEALTHCHECK NONE", "no CMD"),
        ] {
            let error = Dockerfile::parse(&format!("FROM x\n\n{line}")).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains("Dockerfile:3: "), "{text}");
            assert!(text.contains(says), "{text}");
        }
        assert!(Dockerfile::parse("WORKDIR /x").is_err());
        assert!(Dockerfile::parse("# nothing").is_err());
    }
}
