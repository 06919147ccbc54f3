//! The meters of what changes with the logic: stages, aggregates, guests.
//!
//! When another version comes into force, what keeps its name goes on counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::meters::{RejectionMeter, StageMeter, StateMeter};
use super::{Stage, StageGuest};
use crate::record::Cause;
use crate::status::ComponentStatus;

/// What a monitor has to know of a version of the logic.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Outline {
    pub(in crate::pipeline) transforms: Vec<String>,
    pub(in crate::pipeline) aggregates: Vec<String>,
    /// what each sink takes, once for each of its tables; a sink that is not here takes all that any
    /// sink takes
    pub(in crate::pipeline) takes: BTreeMap<String, Vec<String>>,
    pub(in crate::pipeline) guests: Vec<StageGuest>,
    pub(in crate::pipeline) components: Vec<ComponentStatus>,
}

#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) stages: Vec<(Stage, String, Arc<StageMeter>)>,
    pub(super) rejections: Vec<Arc<RejectionMeter>>,
    pub(super) states: Vec<Arc<StateMeter>>,
    pub(super) takes: BTreeMap<String, Vec<String>>,
    pub(super) guests: Vec<StageGuest>,
    pub(super) components: Vec<ComponentStatus>,
}

impl Shape {
    /// Of this version, after another one. `sinks`: the ledger first.
    pub(super) fn new(outline: Outline, deduplicates: bool, sinks: &[&str], before: &Self) -> Self {
        let states = outline.aggregates.iter().map(|name| {
            let known = before.states.iter().find(|meter| meter.aggregate == *name);
            known.cloned().unwrap_or_else(|| {
                Arc::new(StateMeter {
                    aggregate: name.clone(),
                    ..StateMeter::default()
                })
            })
        });
        let states = states.collect();
        Self {
            stages: stages(&outline, deduplicates, sinks, before),
            rejections: rejections(&outline, deduplicates, sinks, before),
            states,
            takes: outline.takes,
            guests: outline.guests,
            components: outline.components,
        }
    }
}

fn stages(
    outline: &Outline,
    deduplicates: bool,
    sinks: &[&str],
    before: &Shape,
) -> Vec<(Stage, String, Arc<StageMeter>)> {
    let mut stages = vec![
        (Stage::Read, "read".to_owned()),
        (Stage::Decode, "decode".to_owned()),
    ];
    if deduplicates {
        stages.push((Stage::Deduplicate, "deduplicate".to_owned()));
    }
    let transforms = outline.transforms.iter().enumerate();
    stages.extend(transforms.map(|(i, name)| (Stage::Transform(i), format!("transform {name}"))));
    let aggregates = outline.aggregates.iter().enumerate();
    stages.extend(aggregates.map(|(i, name)| (Stage::Fold(i), format!("fold {name}"))));
    stages.push((Stage::Merge, "merge and finish".to_owned()));
    let sinks = sinks.iter().enumerate();
    stages.extend(sinks.map(|(i, sink)| (Stage::Write(i), format!("write {sink}"))));
    let metered = |(stage, name): (Stage, String)| {
        let known = before.stages.iter().find(|(_, known, _)| *known == name);
        let meter = known.map(|(.., meter)| Arc::clone(meter));
        (stage, name, meter.unwrap_or_default())
    };
    stages.into_iter().map(metered).collect()
}

/// One for each stage that dead letters name, with the causes that it may have.
fn rejections(
    outline: &Outline,
    deduplicates: bool,
    sinks: &[&str],
    before: &Shape,
) -> Vec<Arc<RejectionMeter>> {
    let mut causes: Vec<(&str, Vec<Cause>)> = Vec::new();
    let mut expect = |stage, more: &[Cause]| {
        // A sink may be called as a stage is; they are counted together then.
        match causes.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, known)) => known.extend(more),
            None => causes.push((stage, more.to_vec())),
        }
    };
    expect("decode", &[Cause::Malformed, Cause::Value]);
    if deduplicates {
        expect("deduplicate", &[Cause::Rejected]);
    }
    for transform in &outline.transforms {
        expect(transform, &[Cause::Rejected, Cause::Failed]);
    }
    for aggregate in &outline.aggregates {
        expect(aggregate, &[Cause::Rejected, Cause::Failed, Cause::Group]);
    }
    for (index, sink) in sinks.iter().enumerate() {
        let cause = if index == 0 {
            Cause::Unstorable
        } else {
            Cause::Refused
        };
        expect(sink, &[cause]);
    }
    let meter = |(stage, causes): (&str, Vec<Cause>)| {
        let known = before.rejections.iter().find(|known| known.stage == stage);
        let known = known.filter(|known| known.causes == causes).cloned();
        known.unwrap_or_else(|| Arc::new(RejectionMeter::new(stage, causes)))
    };
    causes.into_iter().map(meter).collect()
}
