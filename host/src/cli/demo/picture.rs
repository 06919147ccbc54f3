//! The view as a picture, in the colours and the size that fit a page.

use std::fs;
use std::path::Path;

use anyhow::Context;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::live::{self, Model, Theme, Totals, View};

/// Cells of the picture.
const SIZE: (u16, u16) = (120, 36);

/// Writes what the view shows of the model and the totals.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn write(path: &Path, kind: &str, model: &Model, totals: &Totals) -> anyhow::Result<()> {
    let area = Rect::new(0, 0, SIZE.0, SIZE.1);
    let mut buffer = Buffer::empty(area);
    let view = View {
        model,
        totals,
        kind,
        log: None,
        warning: None,
        paused: false,
        help: false,
        theme: Theme::new(true),
    };
    live::render(&view, area, &mut buffer);
    let status = model.status();
    let title = format!(
        "wasmill demo of the pipeline {} in a terminal",
        status.pipeline
    );
    let picture = live::svg(&buffer, &title);
    fs::write(path, picture).with_context(|| format!("failed to write {}", path.display()))
}
