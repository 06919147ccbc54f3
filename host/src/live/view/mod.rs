//! The view itself: a model and an area in, cells out.
//!
//! ```text
//! head      what runs, how far it is, the curve
//! waiting   who does not answer, if anybody
//! panels    two columns, or one where it is narrow
//! foot      the last warning, the keys
//! ```
//!
//! What does not fit is left out, the least important first.

mod flow;
mod frame;
mod panel;
mod results;
mod share;

#[cfg(test)]
mod tests;

use std::path::Path;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::panel::Panel;
use self::share::share;
use super::{Model, Theme, Totals};

/// From this width on there are two columns.
const TWO_COLUMNS: u16 = 72;

/// Everything that is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) model: &'a Model,
    pub(crate) totals: &'a Totals,
    /// what kind of run this is, in a few words
    pub(crate) kind: &'a str,
    /// where the log goes
    pub(crate) log: Option<&'a Path>,
    /// the last warning of the log
    pub(crate) warning: Option<&'a str>,
    /// the view stands still
    pub(crate) paused: bool,
    /// the explanations are on top
    pub(crate) help: bool,
    pub(crate) theme: Theme,
}

/// Draws the view. What lies outside of the buffer is not drawn.
pub(crate) fn render(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let mut rest = area.intersection(buf.area);
    frame::head(view, cut_top(&mut rest, 2), buf);
    let foot_rows = frame::foot_rows(view, rest);
    frame::foot(view, cut_bottom(&mut rest, foot_rows), buf);
    let waiting = view.model.status().waiting_for.len().min(3) as u16;
    let waiting = waiting.min(rest.height / 2);
    frame::waiting(view, cut_top(&mut rest, waiting), buf);
    let curve_rows = match rest.height {
        0..12 => 0,
        12..28 => 2,
        _ => 4,
    };
    frame::curve(view, cut_top(&mut rest, curve_rows), buf);
    panels(view, rest, buf);
    if view.help {
        frame::help(view, area.intersection(buf.area), buf);
    }
}

fn panels(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    if area.width < TWO_COLUMNS {
        let panels = Panel::left(view).into_iter().chain(Panel::right(view));
        column(view, &panels.collect::<Vec<_>>(), area, buf);
        return;
    }
    let gap = 2;
    let left_width = (area.width - gap) * 11 / 20;
    let left = Rect {
        width: left_width,
        ..area
    };
    let right = Rect {
        x: area.x + left_width + gap,
        width: area.width - gap - left_width,
        ..area
    };
    column(view, &Panel::left(view), left, buf);
    column(view, &Panel::right(view), right, buf);
}

fn column(view: &View<'_>, panels: &[Panel<'_>], area: Rect, buf: &mut Buffer) {
    let wishes: Vec<_> = panels.iter().map(|panel| panel.wish(view)).collect();
    let mut rest = area;
    for (panel, rows) in panels.iter().zip(share(area.height, &wishes)) {
        let area = cut_top(&mut rest, rows);
        if !area.is_empty() {
            panel.render(view, area, buf);
        }
    }
}

/// Takes so many rows away from the top, as far as there are any.
fn cut_top(area: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    let top = Rect {
        height: rows,
        ..*area
    };
    area.y += rows;
    area.height -= rows;
    top
}

/// Takes so many rows away from the bottom, as far as there are any.
fn cut_bottom(area: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    area.height -= rows;
    Rect {
        y: area.bottom(),
        height: rows,
        ..*area
    }
}
