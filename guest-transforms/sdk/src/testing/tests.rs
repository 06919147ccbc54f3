//! The driver, on two guests of the column level that can be told to misbehave.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::columns::{Batch, Column, DataType, Rejection, Values};
use crate::contract::{AggregateContract, Changes, Folded, TransformContract};

/// Keeps rows of at least a minimum, and doubles them.
struct AtLeast {
    min: i64,
    breach: Option<Breach>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    min: i64,
    #[serde(default)]
    breach: Option<Breach>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Breach {
    Unsorted,
    TooShort,
    OutOfRange,
    TwiceRejected,
}

impl ColumnTransform for AtLeast {
    type Config = Config;

    fn configure(input: &[Field], config: Config) -> Result<(Self, TransformContract), String> {
        crate::columns::typed(input, "a", DataType::Int64)?;
        let contract = TransformContract {
            needs: vec!["a".to_owned()],
            returns: vec![Field::new("double", DataType::Int64)],
            drops: vec!["gone".to_owned()],
            selects: true,
        };
        let Config { min, breach } = config;
        Ok((Self { min, breach }, contract))
    }

    fn apply(&self, input: Batch) -> Result<Changes, String> {
        let Values::I64s(values) = &input.columns[0].values else {
            return Err("other columns".to_owned());
        };
        let mut changes = Changes::default();
        let mut selection = Vec::new();
        let mut doubles = Vec::new();
        for (row, &value) in (0..).zip(values) {
            match value.checked_mul(2) {
                None => changes.rejections.push(Rejection {
                    row,
                    reason: "`a` is too large".to_owned(),
                }),
                Some(double) if value >= self.min => {
                    selection.push(row);
                    doubles.push(double);
                }
                Some(_) => {}
            }
        }
        match self.breach {
            Some(Breach::Unsorted) => selection.reverse(),
            Some(Breach::TooShort) => drop(doubles.pop()),
            Some(Breach::OutOfRange) => selection[1] = 1_000,
            Some(Breach::TwiceRejected) => {
                let rejection = Rejection {
                    row: 0,
                    reason: String::new(),
                };
                changes.rejections = vec![rejection.clone(), rejection];
            }
            None => {}
        }
        changes.selection = Some(selection);
        changes.columns = vec![Column::new(Values::I64s(doubles))];
        Ok(changes)
    }
}

fn input() -> Vec<Field> {
    fields(&[("a", "int64"), ("gone", "utf8"), ("kept", "utf8?")])
}

fn row(a: i64, kept: Option<&str>) -> Value {
    json!({"a": a, "gone": "x", "kept": kept})
}

fn misbehave(breach: &str) -> Result<Transformed, String> {
    let config = json!({"min": 0, "breach": breach});
    let guest = column_transform::<AtLeast>(&input(), config).unwrap();
    guest.apply(&[row(1, None), row(2, None)])
}

#[test]
fn columns_that_a_transform_does_not_return_follow_its_selection() {
    let guest = column_transform::<AtLeast>(&input(), json!({"min": 2})).unwrap();
    assert_eq!(
        guest.output(),
        fields(&[("a", "int64"), ("kept", "utf8?"), ("double", "int64")])
    );
    let rows = [
        row(1, Some("one")),
        row(i64::MAX, None),
        row(3, Some("three")),
    ];
    let transformed = guest.apply(&rows).unwrap();
    assert_eq!(
        transformed.rows,
        [json!({"a": 3, "kept": "three", "double": 6})]
    );
    assert_eq!(
        transformed.rejections,
        [Rejection {
            row: 1,
            reason: "`a` is too large".to_owned()
        }]
    );
}

#[test]
fn what_a_guest_refuses_is_told_as_the_host_tells_it() {
    let refusal =
        |input: &[Field], config| column_transform::<AtLeast>(input, config).err().unwrap();
    assert!(refusal(&input(), json!({})).starts_with("the config is wrong: missing field `min`"));
    assert_eq!(
        refusal(&fields(&[("a", "utf8")]), json!({"min": 1})),
        "column `a` has to be int64, but is utf8"
    );
    assert_eq!(
        refusal(&fields(&[("a", "int64")]), json!({"min": 1})),
        "there is no column `gone`: the input has a"
    );
}

#[test]
#[should_panic(expected = "the guest breaks its contract: the selection falls")]
fn a_selection_that_falls_is_a_breach() {
    drop(misbehave("unsorted"));
}

#[test]
#[should_panic(expected = "column `double`: it has 1 values, not 2")]
fn a_column_that_is_too_short_is_a_breach() {
    drop(misbehave("too_short"));
}

#[test]
#[should_panic(expected = "row 1000 of 2 is selected")]
fn a_row_that_is_not_there_cannot_be_selected() {
    drop(misbehave("out_of_range"));
}

#[test]
#[should_panic(expected = "row 0 is rejected twice")]
fn a_row_is_rejected_once() {
    drop(misbehave("twice_rejected"));
}

/// Keeps a number of each group: the largest, or, against the laws, the last one.
struct Keep {
    last: bool,
}

#[derive(Deserialize, JsonSchema)]
struct KeepConfig {
    #[serde(default)]
    last: bool,
}

impl Keep {
    fn keep(&self, groups: &[u32], group_count: u32, values: &Batch) -> Batch {
        let Values::I64s(values) = &values.columns[0].values else {
            panic!("other columns");
        };
        let mut kept = vec![i64::MIN; group_count as usize];
        for (&group, &value) in groups.iter().zip(values) {
            let kept = &mut kept[group as usize];
            *kept = if self.last { value } else { value.max(*kept) };
        }
        Batch {
            rows: group_count,
            columns: vec![Column::new(Values::I64s(kept))],
        }
    }
}

impl ColumnAggregate for Keep {
    type Config = KeepConfig;

    fn configure(
        _: &[Field],
        KeepConfig { last }: KeepConfig,
    ) -> Result<(Self, AggregateContract), String> {
        let contract = AggregateContract {
            needs: vec!["a".to_owned()],
            state: fields(&[("kept", "int64")]),
            state_version: 1,
            output: fields(&[("max", "int64")]),
        };
        Ok((Self { last }, contract))
    }

    fn fold(&self, groups: &[u32], group_count: u32, input: Batch) -> Result<Folded, String> {
        Ok(Folded::States(self.keep(groups, group_count, &input)))
    }

    fn merge(&self, groups: &[u32], group_count: u32, parts: Batch) -> Result<Batch, String> {
        Ok(self.keep(groups, group_count, &parts))
    }

    fn finish(&self, states: Batch) -> Result<Batch, String> {
        Ok(states)
    }

    fn migrate(&self, version: u32, _: &[Field], _: Batch) -> Result<Batch, String> {
        Err(format!("states of version {version} cannot be read"))
    }
}

fn values(values: &[i64]) -> Vec<Value> {
    values.iter().map(|&a| json!({"a": a})).collect()
}

#[test]
fn rows_are_folded_merged_and_finished() {
    let guest = column_aggregate::<Keep>(&fields(&[("a", "int64")]), json!({})).unwrap();
    let states = guest.states(&[0, 1, 0], &values(&[1, 5, 3])).unwrap();
    let merged = guest.merge(&[0, 0], states).unwrap();
    assert_eq!(guest.finish(merged), Ok(vec![json!({"max": 5})]));
    assert_eq!(
        guest.run(&[0, 1], &values(&[1, 2])),
        Ok(vec![json!({"max": 1}), json!({"max": 2})])
    );
    assert!(guest.migrate(1, &[], &[]).is_err());
}

#[test]
fn the_laws_hold_of_a_maximum() {
    let guest = column_aggregate::<Keep>(&fields(&[("a", "int64")]), Value::Null).unwrap();
    guest.check_laws(&values(&[3, 1, 4, 1, 5])).unwrap();
}

#[test]
#[should_panic(expected = "rows 0 to 1 and the others, folded apart and merged the other way")]
fn the_laws_do_not_hold_of_what_depends_on_the_order() {
    let config = json!({"last": true});
    let guest = column_aggregate::<Keep>(&fields(&[("a", "int64")]), config).unwrap();
    guest.check_laws(&values(&[3, 1, 4])).unwrap();
}
