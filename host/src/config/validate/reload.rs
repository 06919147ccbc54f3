//! `[reload]`: when another version is taken, and how long it is watched.

use std::time::Duration;

use crate::config::Reload;
use crate::config::reader::Section;

/// What is said of it; the rest has its default.
pub(super) fn reload(section: Option<Section<'_>>) -> Reload {
    let Some(mut section) = section else {
        return Reload::DEFAULT;
    };
    let watch = section.boolean("watch");
    let probation = section.duration("probation", Duration::ZERO..=Duration::from_hours(24));
    let rejected_share = section.number("rejected_share", 0.0..=1.0);
    let keep = section.integer("keep", 1..=1_000);
    section.finish();
    let default = Reload::DEFAULT;
    Reload {
        watch: watch.unwrap_or(default.watch),
        probation: probation.unwrap_or(default.probation),
        rejected_share: rejected_share.unwrap_or(default.rejected_share),
        keep: keep.map_or(default.keep, |versions| versions as usize),
    }
}
