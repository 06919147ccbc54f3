//! The panels: which there are, how many rows each wants, and what they are drawn with.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table, Widget};

use super::share::Wish;
use super::{View, cut_top, flow, results};
use crate::live::{Chart, Theme};

/// Rows of a list of recent things that are enough.
const RECENT_ROWS: u16 = 12;
/// Partitions that are enough.
const PARTITION_ROWS: u16 = 16;

/// A part of the view under a title of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Panel<'a> {
    Stages,
    Epochs,
    Partitions,
    Sinks,
    /// and its place among the charts
    Chart(&'a Chart, usize),
    Sums,
    DeadLetters,
    Components,
}

impl<'a> Panel<'a> {
    /// What flows, from the top.
    pub(super) fn left(view: &View<'a>) -> Vec<Self> {
        let status = view.model.status();
        let mut panels = vec![Self::Stages, Self::Epochs];
        panels.extend((!status.partitions.is_empty()).then_some(Self::Partitions));
        panels.extend((!status.sinks.is_empty()).then_some(Self::Sinks));
        panels
    }

    /// What has come of it, from the top.
    pub(super) fn right(view: &View<'a>) -> Vec<Self> {
        let charts = view.totals.charts.iter().enumerate();
        let mut panels: Vec<Self> = charts
            .map(|(place, chart)| Self::Chart(chart, place))
            .collect();
        panels.extend((!view.totals.checks.is_empty()).then_some(Self::Sums));
        panels.extend([Self::DeadLetters, Self::Components]);
        panels
    }

    /// The rows that it wants, the title included.
    pub(super) fn wish(&self, view: &View<'_>) -> Wish {
        let status = view.model.status();
        let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).max(1);
        // Rows beside the title.
        let sums = view
            .totals
            .checks
            .iter()
            .map(|check| check.sums.len())
            .sum();
        let recent = |count: usize| rows(count).clamp(3, RECENT_ROWS);
        let (least, most, rank) = match self {
            Self::Stages => (10, rows(status.stages.len()), 0),
            Self::Chart(chart, place) => {
                (3, rows(chart.bars.len()), if *place < 2 { 1 } else { 8 })
            }
            Self::Epochs => (2, recent(status.recent_epochs.len()), 2),
            Self::Sums => (4, rows(sums), 3),
            Self::DeadLetters => (1, recent(status.recent_dead_letters.len()), 4),
            Self::Partitions => (1, rows(status.partitions.len()).min(PARTITION_ROWS), 5),
            Self::Sinks => (1, rows(status.sinks.len()), 6),
            Self::Components => (1, rows(status.components.len()), 7),
        };
        Wish {
            least: 1 + least.min(most),
            most: most.saturating_add(1),
            rank,
        }
    }

    /// Draws it, title and all.
    pub(super) fn render(&self, view: &View<'_>, area: Rect, buf: &mut Buffer) {
        match self {
            Self::Stages => flow::stages(view, area, buf),
            Self::Epochs => flow::epochs(view, area, buf),
            Self::Partitions => flow::partitions(view, area, buf),
            Self::Sinks => flow::sinks(view, area, buf),
            Self::Chart(chart, _) => results::chart(chart, view.theme, area, buf),
            Self::Sums => results::sums(view, area, buf),
            Self::DeadLetters => results::dead_letters(view, area, buf),
            Self::Components => results::components(view, area, buf),
        }
    }
}

/// A title in a line across, with something about it at the right if there is room.
pub(super) fn rule(title: &str, about: &str, theme: Theme, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    for x in area.left()..area.right() {
        if let Some(cell) = buf.cell_mut((x, area.y)) {
            cell.set_char('─').set_style(theme.quiet());
        }
    }
    let title = Span::styled(format!(" {title} "), theme.strong());
    let about = Span::styled(format!(" {about} "), theme.quiet());
    let (title_width, about_width) = (title.width(), about.width());
    let at = |x: u16| Rect {
        x: area.x + x,
        width: area.width - x,
        ..area
    };
    title.render(at(1.min(area.width)), buf);
    let width = usize::from(area.width);
    if about_width > 2 && title_width + about_width + 4 <= width {
        about.render(at((width - about_width - 1) as u16), buf);
    }
}

/// A column of a table: its head and its width.
pub(super) type Column = (&'static str, u16);

/// A table whose heads stand in the line of its title. The first column has the title, and `name`
/// cells at least; of the others, at the right, those that do not fit are left out from the right.
pub(super) fn table(
    title: &str,
    name: u16,
    columns: &[Column],
    rows: &[Vec<(String, Style)>],
    theme: Theme,
    mut area: Rect,
    buf: &mut Buffer,
) {
    let mut used = name;
    let fitting = columns.iter().take_while(|(_, width)| {
        used = used.saturating_add(width + 1);
        used <= area.width
    });
    let columns = &columns[..fitting.count()];
    let line = cut_top(&mut area, 1);
    rule(title, "", theme, line, buf);
    let mut end = line.right();
    for (head, width) in columns.iter().rev() {
        // Blanks around the head, so that the line ends where it begins.
        let text = format!(" {head} ");
        let room = text.len() - usize::from(end == line.right());
        let at = end.saturating_sub(head.len() as u16 + 1);
        buf.set_stringn(at, line.y, text, room, theme.quiet());
        end -= width + 1;
    }
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let visible = rows.iter().take(usize::from(area.height));
    let visible = visible.map(|row| {
        let cells = row.iter().take(1 + columns.len()).enumerate();
        cells
            .map(|(column, (text, style))| {
                let line = Line::styled(text.as_str(), *style);
                Cell::from(if column == 0 {
                    line
                } else {
                    line.right_aligned()
                })
            })
            .collect::<Row<'_>>()
    });
    let table = Table::new(visible, std::iter::once(Constraint::Fill(1)).chain(widths));
    Widget::render(table.column_spacing(1), area, buf);
}
