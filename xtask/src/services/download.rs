//! What comes from Maven Central: fetched once, and in its place whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{group, tools};

/// The one plugin that fetches, pinned.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// A server's files.
pub(super) struct Download {
    /// Folder below `dist`, with the version.
    pub(super) folder: &'static str,
    /// Size of what is fetched.
    pub(super) megabytes: u32,
    /// The plugin's goal.
    pub(super) goal: &'static str,
    /// What else it is told.
    pub(super) arguments: &'static [&'static str],
    /// The dependencies of the project that it runs in.
    pub(super) dependencies: &'static [Artifact],
}

/// Coordinates on Maven Central.
pub(super) struct Artifact {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

impl Download {
    /// Where the files are once they are there.
    pub(super) fn path(&self, dist: &Path) -> PathBuf {
        dist.join(self.folder)
    }

    /// Whether they are there.
    pub(super) fn is_done(&self, dist: &Path) -> bool {
        self.path(dist).is_dir()
    }

    /// Fetches the files into a folder of their own, which then gets its name: what was interrupted
    /// counts for nothing and is repeated.
    pub(super) fn fetch(&self, dist: &Path) -> Result<()> {
        eprintln!(
            "fetching {} from Maven Central ({} MB, about 10 s on a fast line)",
            self.folder, self.megabytes
        );
        let part = dist.join(format!(".{}.part", self.folder));
        if part.exists() {
            fs::remove_dir_all(&part)
                .with_context(|| format!("failed to remove {}", part.display()))?;
        }
        let files = part.join("files");
        fs::create_dir_all(&files)
            .with_context(|| format!("failed to create {}", files.display()))?;
        let pom = part.join("pom.xml");
        fs::write(&pom, project(self.dependencies))
            .with_context(|| format!("failed to write {}", pom.display()))?;

        let mut maven = Command::new(tools::maven()?);
        maven
            .args(["--batch-mode", "--file"])
            .arg(&pom)
            .arg(format!("{PLUGIN}:{}", self.goal))
            .args(self.arguments)
            .arg(format!("-DoutputDirectory={}", files.display()));
        let log = dist.join(format!("{}.log", self.folder));
        group::run_logged(&mut maven, &log)?;

        let path = self.path(dist);
        fs::rename(&files, &path)
            .with_context(|| format!("failed to put {} in place", path.display()))?;
        fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))
    }
}

/// A Maven project that has nothing but dependencies.
fn project(dependencies: &[Artifact]) -> String {
    let dependencies: String = dependencies.iter().map(Artifact::render).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         \x20 <modelVersion>4.0.0</modelVersion>\n\
         \x20 <groupId>wasmill</groupId>\n\
         \x20 <artifactId>services</artifactId>\n\
         \x20 <version>1</version>\n\
         \x20 <packaging>pom</packaging>\n\
         \x20 <dependencies>\n{dependencies}  </dependencies>\n\
         </project>\n"
    )
}

impl Artifact {
    fn render(&self) -> String {
        format!(
            "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>\n",
            self.group, self.name, self.version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_lists_its_dependencies() {
        let text = project(&[
            Artifact {
                group: "org.example",
                name: "one",
                version: "1.0",
            },
            Artifact {
                group: "org.example",
                name: "two",
                version: "2.0",
            },
        ]);
        assert_eq!(text.matches("<dependency>").count(), 2);
        assert!(text.contains("<artifactId>two</artifactId><version>2.0</version>"));
        assert!(text.starts_with("<project") && text.ends_with("</project>\n"));
    }
}
