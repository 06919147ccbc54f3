//! Transforms of the row level, driven as the host drives them.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::testing::{self, fields};
use crate::{
    AnyDecimal, Bind, ColumnTransform, Date, Decimal, Field, Input, Many, NoConfig, Output, Reject,
    Timestamp, Transform, reject,
};

#[derive(Input)]
struct Everything<'a> {
    flag: bool,
    whole: i64,
    float: Option<f64>,
    money: Decimal<2>,
    ratio: AnyDecimal,
    #[column(name = "text column")]
    text: &'a str,
    note: Option<&'a str>,
    bytes: &'a [u8],
    time: Timestamp,
    day: Date,
}

#[derive(Output)]
struct Copied {
    flag2: bool,
    whole2: i64,
    float2: Option<f64>,
    money2: Decimal<2>,
    ratio2: AnyDecimal,
    #[column(name = "text column")]
    text: String,
    note2: Option<String>,
    bytes2: Vec<u8>,
    time2: Timestamp,
    day2: Option<Date>,
    kind: &'static str,
}

struct Copy;

impl Transform for Copy {
    type Config = NoConfig;
    type Input<'a> = Everything<'a>;
    type Output = Copied;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let scale = columns.scale("ratio")?;
        columns.output_scale("ratio2", scale).drop_column("whole");
        Ok(())
    }

    fn apply(&self, row: Everything<'_>) -> Result<Copied, Reject> {
        Ok(Copied {
            flag2: row.flag,
            whole2: row.whole,
            float2: row.float,
            money2: row.money,
            ratio2: row.ratio,
            text: row.text.to_uppercase(),
            note2: row.note.map(str::to_owned),
            bytes2: row.bytes.to_vec(),
            time2: row.time,
            day2: (row.day.days() != 0).then_some(row.day),
            kind: "copy",
        })
    }
}

fn everything() -> Vec<Field> {
    fields(&[
        ("flag", "boolean"),
        ("whole", "int64"),
        ("float", "float64?"),
        ("money", "decimal(2)"),
        ("ratio", "decimal(7)"),
        ("text column", "utf8"),
        ("note", "utf8"),
        ("bytes", "binary"),
        ("time", "timestamp"),
        ("day", "date"),
    ])
}

#[test]
fn every_type_goes_through_a_guest() {
    let guest = testing::transform::<Copy>(&everything(), json!({})).unwrap();
    let row = |float: Option<f64>, text: &str, day: &str| {
        json!({
            "flag": true, "whole": -7, "float": float, "money": "-12.50", "ratio": "0.0000001",
            "text column": text, "note": "n", "bytes": "b", "time": "2025-03-01T12:30:00Z", "day": day,
        })
    };
    let copied = |float: Option<f64>, text: &str, day: &str, day2: Option<&str>| {
        json!({
            "flag": true, "float": float, "money": "-12.50", "ratio": "0.0000001",
            "text column": text, "note": "n", "bytes": "b", "time": "2025-03-01T12:30:00Z", "day": day,
            "flag2": true, "whole2": -7, "float2": float, "money2": "-12.50", "ratio2": "0.0000001",
            "note2": "n", "bytes2": "b", "time2": "2025-03-01T12:30:00Z", "day2": day2, "kind": "copy",
        })
    };
    let rows = [
        row(Some(0.5), "aé", "2025-03-01"),
        row(None, "", "1970-01-01"),
    ];
    let transformed = guest.apply(&rows).unwrap();
    assert_eq!(
        transformed.rows,
        [
            copied(Some(0.5), "AÉ", "2025-03-01", Some("2025-03-01")),
            copied(None, "", "1970-01-01", None)
        ]
    );
    assert_eq!(transformed.rejections, []);
    assert_eq!(guest.apply(&[]).unwrap().rows, Vec::<Value>::new());
}

#[test]
fn the_contract_is_that_of_the_structs() {
    let guest = testing::transform::<Copy>(&everything(), Value::Null).unwrap();
    let contract = guest.contract();
    let names: Vec<_> = everything().into_iter().map(|field| field.name).collect();
    assert_eq!(contract.needs, names);
    assert_eq!(contract.drops, ["whole"]);
    assert!(!contract.selects);
    assert_eq!(
        contract.returns,
        fields(&[
            ("flag2", "boolean"),
            ("whole2", "int64"),
            ("float2", "float64?"),
            ("money2", "decimal(2)"),
            ("ratio2", "decimal(7)"),
            ("text column", "utf8"),
            ("note2", "utf8?"),
            ("bytes2", "binary"),
            ("time2", "timestamp"),
            ("day2", "date?"),
            ("kind", "utf8"),
        ])
    );
}

#[test]
fn an_input_that_does_not_suit_is_refused_with_column_and_types() {
    let refusal = |name: &str, ty: &str| {
        let mut input = everything();
        let [field] = fields(&[(name, ty)]).try_into().unwrap();
        *input.iter_mut().find(|there| there.name == name).unwrap() = field;
        testing::transform::<Copy>(&input, json!({})).err().unwrap()
    };
    assert_eq!(
        refusal("whole", "utf8"),
        "column `whole` has to be int64, but is utf8"
    );
    assert_eq!(
        refusal("money", "decimal(3)"),
        "column `money` has to be decimal(2), but is decimal(3)"
    );
    assert_eq!(
        refusal("ratio", "float64"),
        "column `ratio` has to be a decimal, but is float64"
    );
    assert_eq!(
        refusal("text column", "utf8?"),
        "column `text column` has to be there in every row, but is nullable: in the guest, `text` of \
         `Everything` is no `Option`"
    );
    let refused = testing::transform::<Copy>(&everything()[1..], json!({})).err();
    assert!(
        refused
            .unwrap()
            .starts_with("there is no column `flag`: the input has whole, ")
    );
}

#[derive(Input)]
struct Number {
    a: Option<i64>,
}

#[derive(Output)]
struct Numbered {
    n: i64,
    ratio: AnyDecimal,
}

/// Makes `a` rows of a row, rejects negative numbers, and fails at writing the last of more than three.
struct Repeat<O>(std::marker::PhantomData<O>);

fn repeat(row: &Number) -> Result<impl Iterator<Item = Numbered> + use<>, Reject> {
    let a = row.a.ok_or_else(|| reject("`a` is missing"))?;
    if a < 0 {
        return Err(reject(format!("`a` is {a}, below 0")));
    }
    let ratio = |n| AnyDecimal::new(if n == 3 { 10_i64.pow(17) } else { n }, 0).unwrap();
    Ok((0..a).map(move |n| Numbered { n, ratio: ratio(n) }))
}

macro_rules! repeat {
    ($output:ty, $make:expr) => {
        impl Transform for Repeat<$output> {
            type Config = NoConfig;
            type Input<'a> = Number;
            type Output = $output;

            fn new(_: NoConfig) -> Result<Self, String> {
                Ok(Self(std::marker::PhantomData))
            }

            fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
                columns.output_scale("ratio", 2);
                Ok(())
            }

            fn apply(&self, row: Number) -> Result<$output, Reject> {
                Ok($make(repeat(&row)?))
            }
        }
    };
}

repeat!(Vec<Numbered>, Iterator::collect);
repeat!(Option<Numbered>, |mut rows: _| Iterator::next(&mut rows));
repeat!(Many<std::vec::IntoIter<Numbered>>, |rows: _| Many(
    Iterator::collect::<Vec<_>>(rows).into_iter()
));

fn repeated<O>(rows: &[Value]) -> (Vec<Value>, Vec<(u32, String)>)
where
    Repeat<O>: Transform<Config = NoConfig>,
{
    let guest = testing::transform::<Repeat<O>>(&fields(&[("a", "int64?")]), json!({})).unwrap();
    assert!(guest.contract().selects);
    let transformed = guest.apply(rows).unwrap();
    let rejections = transformed.rejections.into_iter();
    (
        transformed.rows,
        rejections.map(|r| (r.row, r.reason)).collect(),
    )
}

fn out(a: i64, n: i64) -> Value {
    json!({"a": a, "n": n, "ratio": format!("{n}.00")})
}

#[test]
fn rows_out_of_one_follow_it_and_a_rejected_row_leaves_none() {
    let rows = [2, 0, -1, 4, 1].map(|a| json!({"a": a}));
    let rows = [&rows[..], &[json!({})]].concat();
    let expected = (
        vec![out(2, 0), out(2, 1), out(1, 0)],
        vec![
            (2, "`a` is -1, below 0".to_owned()),
            (3, "`ratio` has more than 18 digits".to_owned()),
            (5, "`a` is missing".to_owned()),
        ],
    );
    assert_eq!(repeated::<Vec<Numbered>>(&rows), expected);
    assert_eq!(
        repeated::<Many<std::vec::IntoIter<Numbered>>>(&rows),
        expected
    );
}

#[test]
fn an_option_is_a_filter() {
    let rows = [2, 0, 4].map(|a| json!({"a": a}));
    let (kept, rejected) = repeated::<Option<Numbered>>(&rows);
    assert_eq!(kept, [out(2, 0), out(4, 0)]);
    assert_eq!(rejected, []);
}

/// Rejects and filters, and returns no column.
struct Positive;

impl Transform for Positive {
    type Config = NoConfig;
    type Input<'a> = Number;
    type Output = [(); 2];

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn apply(&self, row: Number) -> Result<[(); 2], Reject> {
        if row.a.is_none_or(|a| a <= 0) {
            return Err("`a` is not above 0".into());
        }
        Ok([(); 2])
    }
}

#[test]
fn a_guest_may_return_no_column() {
    let guest = testing::transform::<Positive>(&fields(&[("a", "int64")]), json!({})).unwrap();
    let transformed = guest.apply(&[json!({"a": 1}), json!({"a": 0})]).unwrap();
    assert_eq!(transformed.rows, [json!({"a": 1}), json!({"a": 1})]);
    assert_eq!(transformed.rejections[0].reason, "`a` is not above 0");
}

/// Reads one column into two fields, both named by the config.
#[derive(Input)]
struct Pair<'a> {
    first: &'a str,
    second: Option<&'a str>,
}

#[derive(Output)]
struct Same {
    same: bool,
}

struct Compare {
    config: CompareConfig,
    mistake: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompareConfig {
    first: Cow<'static, str>,
    second: String,
    #[serde(default)]
    mistake: bool,
}

impl Transform for Compare {
    type Config = CompareConfig;
    type Input<'a> = Pair<'a>;
    type Output = Same;

    fn new(config: CompareConfig) -> Result<Self, String> {
        let mistake = config.mistake;
        Ok(Self { config, mistake })
    }

    fn bind(&mut self, columns: &mut Bind<'_>) -> Result<(), String> {
        let CompareConfig { first, second, .. } = &self.config;
        columns
            .input("first", first.clone())
            .input("second", second)
            .output("same", format!("{first}_is_{second}"));
        if self.mistake {
            columns.output("sam", "x");
        }
        Ok(())
    }

    fn apply(&self, row: Pair<'_>) -> Result<Same, Reject> {
        Ok(Same {
            same: row.second == Some(row.first),
        })
    }
}

#[test]
fn columns_are_named_by_the_config_and_asked_for_once() {
    let config = json!({"first": "a", "second": "a"});
    let guest = testing::transform::<Compare>(&fields(&[("a", "utf8")]), config).unwrap();
    assert_eq!(guest.contract().needs, ["a"]);
    let transformed = guest.apply(&[json!({"a": "x"})]).unwrap();
    assert_eq!(transformed.rows, [json!({"a": "x", "a_is_a": true})]);

    let config = json!({"first": "a", "second": "b"});
    let input = fields(&[("a", "utf8"), ("b", "utf8?")]);
    let guest = testing::transform::<Compare>(&input, config).unwrap();
    let transformed = guest.apply(&[json!({"a": "x"})]).unwrap();
    assert_eq!(
        transformed.rows,
        [json!({"a": "x", "b": null, "a_is_b": false})]
    );
}

#[test]
fn a_field_that_the_struct_does_not_have_is_a_mistake_in_the_guest() {
    let config = json!({"first": "a", "second": "a", "mistake": true});
    let refusal = testing::transform::<Compare>(&fields(&[("a", "utf8")]), config).err();
    assert_eq!(
        refusal.unwrap(),
        "a mistake in the guest: its output has no field `sam`, but same"
    );
}

#[test]
fn a_batch_that_is_not_as_configured_is_an_error() {
    let input = fields(&[("a", "int64?")]);
    let guest = testing::transform::<Repeat<Vec<Numbered>>>(&input, json!({})).unwrap();
    let apply = |rows, columns| guest.guest().apply(crate::Batch { rows, columns });
    let column = |values| crate::Column::new(values);
    let error = "column 0 of the batch is not int64 as configured";
    for (rows, columns) in [
        (0, vec![]),
        (1, vec![column(crate::Values::F64s(vec![1.0]))]),
        (2, vec![column(crate::Values::I64s(vec![1]))]),
    ] {
        assert_eq!(apply(rows, columns).unwrap_err(), error);
    }
}
