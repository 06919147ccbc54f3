//! The context of a build: what the repository holds, without what `.dockerignore` leaves out.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{group, workspace};

/// `.dockerignore`, of which we use names of the top folder, perhaps with a `*` at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ignore(Vec<String>);

impl Ignore {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// Names a pattern of another form.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let patterns: Vec<String> = patterns.map(str::to_owned).collect();
        for pattern in &patterns {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            if name.is_empty() || name.contains(['/', '*', '?', '[', '!', '\\']) {
                bail!(
                    ".dockerignore: `{pattern}`: names of the top folder are understood, with a * at their end at most"
                );
            }
        }
        Ok(Self(patterns))
    }

    /// Whether a path, relative to the context, is left out.
    pub(super) fn covers(&self, path: &Path) -> bool {
        let Some(Component::Normal(top)) = path.components().next() else {
            return false;
        };
        let top = top.to_string_lossy();
        self.0
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => top.starts_with(start),
                None => top == *pattern,
            })
    }
}

/// Puts what is committed, and not ignored, into the new folder `context`.
pub(super) fn export(context: &Path, ignore: &Ignore) -> Result<()> {
    fs::create_dir_all(context)?;
    let archive = context.with_extension("tar");
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg("HEAD");
    group::run(&mut git)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(context);
    group::run(&mut tar)?;
    fs::remove_file(&archive)?;
    for entry in fs::read_dir(context)? {
        let entry = entry?;
        if !ignore.covers(Path::new(&entry.file_name())) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `COPY source target`: a folder's contents, or a file under its own name if `target` is a folder.
///
/// `target` is where the instruction says, `.` or a path that ends with `/` for a folder, and `place`
/// is that on this machine.
pub(super) fn copy(source: &Path, target: &str, place: &Path) -> Result<()> {
    if source.is_dir() {
        return copy_folder(source, place);
    }
    let is_folder = target == "." || target.ends_with('/');
    let file: PathBuf = match source.file_name() {
        Some(name) if is_folder => place.join(name),
        _ => place.to_owned(),
    };
    copy_file(source, &file)
}

fn copy_folder(source: &Path, target: &Path) -> Result<()> {
    let entries =
        fs::read_dir(source).with_context(|| format!("failed to read {}", source.display()))?;
    fs::create_dir_all(target).with_context(|| format!("failed to create {}", target.display()))?;
    for entry in entries {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            copy_file(&from, &to)?;
        }
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path) -> Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(source, target).with_context(|| {
        format!(
            "failed to copy {} to {}",
            source.display(),
            target.display()
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_top_folder_are_left_out_with_all_below_them() {
        let ignore = Ignore::parse("# secrets\n.env*\n\ntarget\n").unwrap();
        for path in [".env", ".env.example", "target", "target/release/wasmill"] {
            assert!(ignore.covers(Path::new(path)), "{path}");
        }
        for path in ["host/target", "targets", ".dockerignore", "host/.env"] {
            assert!(!ignore.covers(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn other_patterns_are_refused() {
        for pattern in ["!target", "**/x", "a/b", "*.md", "*"] {
            let error = Ignore::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(pattern), "{error}");
        }
    }

    #[test]
    fn a_folder_is_copied_as_its_contents_and_a_file_under_its_name() {
        let folder =
            std::env::temp_dir().join(format!("wasmill-xtask-copy-{}", std::process::id()));
        let from = folder.join("from");
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/a"), "a").unwrap();
        let to = folder.join("to");
        copy(&from, "to", &to).unwrap();
        copy(&from.join("deep/a"), ".", &to).unwrap();
        copy(&from.join("deep/a"), "to/b", &to.join("b")).unwrap();
        for name in ["deep/a", "a", "b"] {
            assert_eq!(fs::read_to_string(to.join(name)).unwrap(), "a", "{name}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
