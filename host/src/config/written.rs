//! What a pipeline was read from, and reading another text in its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Diagnostics, Embedding, Pipeline, embed, parse_for, read, unreadable};

/// The text of a pipeline, and what else it was made of. Cheap to clone.
#[derive(Clone, Default)]
pub struct Written {
    /// as it stands in the file
    pub text: Arc<str>,
    file_name: String,
    base: PathBuf,
    /// variables that it asked for, with what they were
    variables: Arc<BTreeMap<String, Option<String>>>,
    /// whether it may lack variables
    embedded: bool,
    pub(super) embedding: Option<Arc<Embedding>>,
}

/// Without the variables: there may be passwords in them.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("file_name", &self.file_name)
            .finish_non_exhaustive()
    }
}

impl Written {
    pub(super) fn new(
        text: &str,
        (file_name, base): (&str, &Path),
        variables: BTreeMap<String, Option<String>>,
        embedded: bool,
    ) -> Self {
        Self {
            text: text.into(),
            file_name: file_name.to_owned(),
            base: base.to_owned(),
            variables: Arc::new(variables),
            embedded,
            embedding: None,
        }
    }

    /// The file, for messages.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// What the file says now, in the place of this.
    ///
    /// # Errors
    ///
    /// Those of [`load`](super::load).
    pub fn read_file_again(&self) -> Result<(Pipeline, Diagnostics), Diagnostics> {
        let text = read(Path::new(&self.file_name))
            .map_err(|error| unreadable(&self.file_name, &error))?;
        self.read_again(&text)
    }

    /// Another text in the place of this one: in the same folder, with the same variables, and those of
    /// this process that this one did not ask for; embedded if this one is.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](super::parse).
    pub fn read_again(&self, text: &str) -> Result<(Pipeline, Diagnostics), Diagnostics> {
        let variable = |name: &str| match self.variables.get(name) {
            Some(known) => known.clone(),
            None => std::env::var(name).ok(),
        };
        let read = parse_for(text, &self.file_name, &self.base, &variable, self.embedded)?;
        let (pipeline, mut diagnostics) = read;
        let Some(embedding) = &self.embedding else {
            return Ok((pipeline, diagnostics));
        };
        match embed(pipeline, embedding, &mut diagnostics) {
            Some(embedded) => Ok((embedded.pipeline, diagnostics)),
            None => Err(diagnostics),
        }
    }
}
