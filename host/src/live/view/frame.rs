//! What stands around the panels: head, curve, foot, and the explanations.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Widget};

use super::panel::rule;
use super::{View, cut_top};
use crate::live::text::{bytes, clock, count, per_second, percent, span};
use crate::status::Phase;

/// What the view says, and the keys.
const HELP: &[&str] = &[
    "q, Ctrl-C   finish the epoch and stop; again: at once",
    "p           let the view stand still; the pipeline runs on",
    "?           these explanations",
    "",
    "stages      rows/s over the last 5 s. busy: the share of one",
    "            thread's time, all workers together. read and write",
    "            also count what they wait.",
    "epochs      the run of records that is committed at once. took:",
    "            from its first record to its commit. commit: the",
    "            database's part of that.",
    "lag         records that are there and not committed yet",
    "sums        over whole tables, read in one transaction: equal",
    "            at every moment, whatever happens",
    "dead        records that could not be used, with the reason",
];

/// Two lines: what runs, and how far it is.
pub(super) fn head(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    let (theme, status) = (view.theme, view.model.status());
    let first = cut_top(&mut area, 1);
    let (mark, style) = match status.phase {
        Phase::Starting => ("starting", theme.warning()),
        Phase::Running if !status.waiting_for.is_empty() => ("waiting", theme.bad()),
        Phase::Running => ("running", theme.good()),
        Phase::Stopping => ("stopping", theme.warning()),
    };
    let phase = Line::from(vec![
        Span::styled(
            if view.paused { "view paused  " } else { "" },
            theme.warning(),
        ),
        Span::styled(mark, style),
        Span::raw(format!(" {} ", clock(status.uptime))),
    ]);
    let name = Line::from(vec![
        Span::styled(format!(" {}", status.pipeline), theme.strong()),
        Span::styled(
            format!("  {}  wasmill {}", view.kind, status.version),
            theme.quiet(),
        ),
    ]);
    both_ends(name, phase, first, buf);

    how_far(view, cut_top(&mut area, 1), buf);
}

/// The counters that matter most, as many as fit.
fn how_far(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let (theme, status) = (view.theme, view.model.status());
    let rate = view.model.rate();
    let dead_share = status.dead_letters as f64 / status.records.max(1) as f64;
    let mut parts = vec![
        ("", count(status.records), " records".to_owned()),
        ("", per_second(rate.records), "/s".to_owned()),
        ("epoch ", count(status.epoch), String::new()),
        (
            "",
            count(status.dead_letters),
            format!(" dead letters ({})", percent(dead_share)),
        ),
    ];
    if let Some(lag) = view.model.lag() {
        parts.push(("lag ", count(lag), String::new()));
    }
    parts.push(("", bytes(rate.bytes), "/s".to_owned()));
    if let Some(duplicates) = status.duplicates.filter(|number| *number > 0) {
        parts.push(("", count(duplicates), " duplicates".to_owned()));
    }
    let mut line = Line::default();
    for (before, number, after) in parts {
        let blank = if line.width() == 0 { " " } else { "   " };
        let spans = [
            Span::raw(blank),
            Span::styled(before, theme.quiet()),
            Span::styled(number, theme.strong()),
            Span::styled(after, theme.quiet()),
        ];
        let width: usize = spans.iter().map(Span::width).sum();
        if line.width() + width > usize::from(area.width) {
            break;
        }
        line.spans.extend(spans);
    }
    line.render(area, buf);
}

/// Who does not answer, a line each.
pub(super) fn waiting(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    for waiting in &view.model.status().waiting_for {
        let line = Line::from(vec![
            Span::styled(
                format!(" waiting for {} ({}): ", waiting.part, span(waiting.since)),
                view.theme.bad(),
            ),
            Span::raw(waiting.reason.as_str()),
        ]);
        line.render(cut_top(&mut area, 1), buf);
    }
}

/// Records a second over time.
pub(super) fn curve(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    if area.height < 2 {
        return;
    }
    let curve = view.model.curve();
    let width = usize::from(area.width);
    let skipped = curve.len().saturating_sub(width);
    let points: Vec<u64> = curve.skip(skipped).collect();
    let most = points.iter().copied().max().unwrap_or(0);
    let about = format!("{} s, at most {}", points.len(), count(most));
    rule("records/s", &about, view.theme, cut_top(&mut area, 1), buf);
    Sparkline::default()
        .data(&points)
        .max(most.max(1))
        .style(view.theme.bar())
        .render(area, buf);
}

/// How many rows the foot takes.
pub(super) fn foot_rows(view: &View<'_>, rest: Rect) -> u16 {
    match rest.height {
        0..3 => 0,
        3..8 => 1,
        _ => 1 + u16::from(view.warning.is_some()),
    }
}

/// The last warning, and the keys.
pub(super) fn foot(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    if let Some(warning) = view.warning
        && area.height > 1
    {
        let line = Line::from(vec![
            Span::styled(" last warning: ", theme.warning()),
            Span::raw(warning),
        ]);
        line.render(cut_top(&mut area, 1), buf);
    }
    let keys = if view.model.status().phase == Phase::Stopping {
        vec![Span::styled(
            " committing what was read; q again: stop at once",
            theme.warning(),
        )]
    } else {
        let key = |key, what| {
            [
                Span::styled(key, theme.strong()),
                Span::styled(what, theme.quiet()),
            ]
        };
        [
            key(" q", " stop "),
            key(" p", " pause "),
            key(" ?", " help "),
        ]
        .concat()
    };
    let keys = Line::from(keys);
    let log = view
        .log
        .map_or(String::new(), |path| format!("log {} ", path.display()));
    let mut log = Line::styled(log, theme.quiet());
    if keys.width() + log.width() + 2 > usize::from(area.width) {
        log = Line::default();
    }
    both_ends(keys, log, area, buf);
}

/// The explanations, over everything else.
pub(super) fn help(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let width = HELP.iter().map(|line| line.chars().count()).max();
    let width = (width.unwrap_or(0) as u16 + 4).min(area.width);
    let height = (HELP.len() as u16 + 2).min(area.height);
    let area = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(area, buf);
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|&line| Line::raw(format!(" {line}")))
        .collect();
    let title = Line::styled(" help ", view.theme.strong());
    Paragraph::new(lines)
        .style(Style::new())
        .block(Block::bordered().title(title))
        .render(area, buf);
}

/// One at the left, the other one at the right, which is the more important one where there is no
/// room for both.
fn both_ends(left: Line<'_>, right: Line<'_>, area: Rect, buf: &mut Buffer) {
    let width = usize::from(area.width);
    let right_width = right.width().min(width);
    let left_width = width.saturating_sub(right_width + 2);
    let left_area = Rect {
        width: left_width as u16,
        ..area
    };
    left.render(left_area, buf);
    let right_area = Rect {
        x: area.x + (width - right_width) as u16,
        width: right_width as u16,
        ..area
    };
    right.render(right_area, buf);
}
