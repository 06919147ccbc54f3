//! The view as a picture, in the colours and the size that fit a page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::live::{self, Model, Theme, Totals, View};

/// Cells of the picture.
const SIZE: (u16, u16) = (120, 36);

/// The view as it was last, for a file.
pub(super) struct Picture {
    path: PathBuf,
    kind: String,
    last: Option<String>,
}

impl Picture {
    /// A picture that goes into this file.
    pub(super) fn new(path: &Path, kind: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind: kind.to_owned(),
            last: None,
        }
    }

    /// Takes what the view shows of the model and the totals in place of what was taken before.
    pub(super) fn take(&mut self, model: &Model, totals: &Totals) {
        let area = Rect::new(0, 0, SIZE.0, SIZE.1);
        let mut buffer = Buffer::empty(area);
        let view = View {
            model,
            totals,
            kind: &self.kind,
            log: None,
            warning: None,
            paused: false,
            help: false,
            theme: Theme::new(true),
        };
        live::render(&view, area, &mut buffer);
        let pipeline = &model.status().pipeline;
        let title = format!("wasmill demo of the pipeline {pipeline} in a terminal");
        self.last = Some(live::svg(&buffer, &title));
    }

    /// Writes what was taken last, if anything was.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        self.last.as_ref().map_or(Ok(()), |picture| {
            fs::write(&self.path, picture)
                .with_context(|| format!("failed to write {}", self.path.display()))
        })
    }
}
