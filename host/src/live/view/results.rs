//! Panels of what has come of it: totals, dead letters; and the components that made it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::panel::rule;
use super::{View, cut_top};
use crate::live::text::count;
use crate::live::{Chart, Sum, Theme};

/// Digits of a digest that are shown.
const DIGEST_DIGITS: usize = 12;

/// Bars as long as their amounts.
pub(super) fn chart(chart: &Chart, theme: Theme, mut area: Rect, buf: &mut Buffer) {
    let about = format!("{} by {}", chart.column, chart.by);
    rule(&chart.table, &about, theme, cut_top(&mut area, 1), buf);
    if chart.bars.is_empty() {
        Line::styled(" nothing yet", theme.quiet()).render(area, buf);
        return;
    }
    let shown = &chart.bars[..chart.bars.len().min(usize::from(area.height))];
    let width = usize::from(area.width);
    let amounts: Vec<String> = shown.iter().map(|bar| bar.amount.to_string()).collect();
    let amount_width = amounts.iter().map(String::len).max().unwrap_or(0);
    let labels = shown.iter().map(|bar| Span::raw(&bar.label).width());
    let label_width = labels.max().unwrap_or(0).min(width * 2 / 5);
    let most = shown.iter().map(|bar| bar.amount.units).max().unwrap_or(0);
    // A blank before the label, and one on both sides of the bar.
    let room = width.saturating_sub(label_width + amount_width + 3);
    for (bar, amount) in shown.iter().zip(amounts) {
        let row = cut_top(&mut area, 1);
        let mut at = row.x.saturating_add(1);
        let mut put = |text: &str, width: usize, style| {
            let end = row.right();
            let width = width.min(usize::from(end.saturating_sub(at)));
            if width > 0 {
                buf.set_stringn(at, row.y, text, width, style);
                at += width as u16;
            }
        };
        put(&bar.label, label_width, theme.strong());
        put(" ", 1, theme.strong());
        put(&line(bar.amount.units, most, room), room, theme.bar());
        put(
            &format!(" {amount:>amount_width$}"),
            amount_width + 1,
            theme.strong(),
        );
    }
}

/// A bar for `amount` where `most` fills the width, in halves of a cell; padded to the width.
fn line(amount: i64, most: i64, width: usize) -> String {
    let share = if most > 0 {
        amount.max(0) as f64 / most as f64
    } else {
        0.0
    };
    let halves = (share * width as f64 * 2.0).round() as usize;
    let whole = (halves / 2).min(width);
    let half = usize::from(halves % 2 == 1 && whole < width);
    "━".repeat(whole) + &"╸".repeat(half) + &" ".repeat(width - whole - half)
}

/// Sums of whole tables, and whether they agree.
pub(super) fn sums(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let verdict = match view.totals.agree() {
        None => "sums",
        Some(true) => "sums: equal",
        Some(false) => "sums: NOT EQUAL",
    };
    rule(
        verdict,
        "in one transaction",
        theme,
        cut_top(&mut area, 1),
        buf,
    );
    let sums = view.totals.checks.iter().flat_map(|check| {
        let agrees = check.agrees();
        check.sums.iter().map(move |sum| (sum, agrees))
    });
    let fits = |sum: &Sum| {
        let name = Span::raw(&sum.table).width() + Span::raw(&sum.column).width() + 2;
        name + sum.amount.to_string().len() < usize::from(area.width)
    };
    let has_columns = sums.clone().all(|(sum, _)| fits(sum));
    for (sum, agrees) in sums {
        let row = cut_top(&mut area, 1);
        if row.is_empty() {
            break;
        }
        let style = if agrees { theme.good() } else { theme.bad() };
        let amount = Span::styled(format!(" {}", sum.amount), style);
        let amount_width = (amount.width() as u16).min(row.width);
        let mut name = Line::from(format!(" {}", sum.table));
        if has_columns {
            name.push_span(Span::styled(format!(".{}", sum.column), theme.quiet()));
        }
        let name_area = Rect {
            width: row.width - amount_width,
            ..row
        };
        name.render(name_area, buf);
        let amount_area = Rect {
            x: name_area.right(),
            width: amount_width,
            ..row
        };
        amount.render(amount_area, buf);
    }
}

/// The last dead letters, newest first.
pub(super) fn dead_letters(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    let (theme, status) = (view.theme, view.model.status());
    rule(
        "dead letters",
        &count(status.dead_letters),
        theme,
        cut_top(&mut area, 1),
        buf,
    );
    let letters = status.recent_dead_letters.iter().rev();
    if letters.len() == 0 {
        Line::styled(" none", theme.quiet()).render(area, buf);
    }
    for letter in letters {
        let row = cut_top(&mut area, 1);
        if row.is_empty() {
            break;
        }
        let line = Line::from(vec![
            Span::styled(
                format!(" {}@{} ", letter.partition, letter.offset),
                theme.quiet(),
            ),
            Span::styled(format!("{}: ", letter.stage), theme.warning()),
            Span::raw(letter.reason.as_str()),
        ]);
        line.render(row, buf);
    }
}

/// Which code runs.
pub(super) fn components(view: &View<'_>, mut area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    rule("components", "", theme, cut_top(&mut area, 1), buf);
    for component in &view.model.status().components {
        let row = cut_top(&mut area, 1);
        if row.is_empty() {
            break;
        }
        let digest: String = component.digest.chars().take(DIGEST_DIGITS).collect();
        let line = Line::from(vec![
            Span::styled(format!(" {} ", component.name), theme.strong()),
            Span::raw(component.version.as_str()),
            Span::styled(format!(" {digest}"), theme.quiet()),
            Span::raw(format!("  {}", component.stages.join(", "))),
        ]);
        line.render(row, buf);
    }
}
