//! Panels of what flows: stages, epochs, partitions, sinks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::View;
use super::panel::table;
use crate::live::model::lag;
use crate::live::text::{count, per_second, percent, span};
use crate::status::PartitionStatus;

pub(super) fn stages(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let rates = view.model.stages();
    let stages = view.model.status().stages.iter().zip(rates);
    let rows: Vec<_> = stages
        .map(|(stage, rate)| {
            // These wait for others most of their time.
            let waits = stage.name.starts_with("read") || stage.name.starts_with("write");
            let busy = if waits {
                view.theme.quiet()
            } else {
                view.theme.bar()
            };
            vec![
                (format!(" {}", stage.name), Style::new()),
                (per_second(rate.rows), Style::new()),
                (percent(rate.busy), busy),
                (format!("{:.0}", rate.row_nanos), view.theme.quiet()),
                (count(stage.rows), view.theme.quiet()),
            ]
        })
        .collect();
    let columns = [("rows/s", 9), ("busy", 7), ("ns/row", 8), ("rows", 13)];
    table("stages", 24, &columns, &rows, view.theme, area, buf);
}

pub(super) fn epochs(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let status = view.model.status();
    let rows: Vec<_> = status
        .recent_epochs
        .iter()
        .rev()
        .map(|epoch| {
            let dead = match epoch.dead_letters {
                0 => view.theme.quiet(),
                _ => view.theme.warning(),
            };
            vec![
                (format!(" {}", count(epoch.epoch)), Style::new()),
                (count(epoch.records), Style::new()),
                (span(epoch.duration), Style::new()),
                (span(epoch.commit), Style::new()),
                (count(epoch.dead_letters), dead),
            ]
        })
        .collect();
    let columns = [("records", 9), ("took", 8), ("commit", 8), ("dead", 6)];
    table("epochs", 10, &columns, &rows, view.theme, area, buf);
}

pub(super) fn partitions(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let mut partitions: Vec<&PartitionStatus> = view.model.status().partitions.iter().collect();
    let room = usize::from(area.height.saturating_sub(1));
    let mut title = "partitions".to_owned();
    if partitions.len() > room {
        title = format!("partitions, {room} of {}", partitions.len());
        // Those that are furthest behind, in their order.
        partitions.sort_by_key(|partition| std::cmp::Reverse(lag(partition)));
        partitions.truncate(room);
        partitions.sort_by_key(|partition| partition.partition);
    }
    let rows: Vec<_> = partitions
        .iter()
        .map(|partition| {
            let lag = lag(partition).map_or("-".to_owned(), count);
            vec![
                (format!(" {}", partition.partition), Style::new()),
                (lag, view.theme.bar()),
                (offset(partition.committed), Style::new()),
                (offset(partition.position), Style::new()),
            ]
        })
        .collect();
    let columns = [("lag", 9), ("committed", 13), ("read", 13)];
    table(&title, 18, &columns, &rows, view.theme, area, buf);
}

pub(super) fn sinks(view: &View<'_>, area: Rect, buf: &mut Buffer) {
    let status = view.model.status();
    let rows: Vec<_> = status
        .sinks
        .iter()
        .map(|sink| {
            let behind = status.epoch.saturating_sub(sink.epoch);
            let style = match behind {
                0 => view.theme.quiet(),
                _ => view.theme.warning(),
            };
            let last_write = sink.last_write.map_or("-".to_owned(), span);
            vec![
                (format!(" {}", sink.name), Style::new()),
                (count(sink.epoch), Style::new()),
                (count(behind), style),
                (last_write, Style::new()),
            ]
        })
        .collect();
    let columns = [("epoch", 9), ("behind", 7), ("last write", 10)];
    table("sinks", 12, &columns, &rows, view.theme, area, buf);
}

/// An offset, which is negative only by mistake.
fn offset(offset: i64) -> String {
    u64::try_from(offset).map_or_else(|_| offset.to_string(), count)
}
