//! What a guest declared at `configure`, checked against its input.

use super::bindings::data::{DataType as WitType, FieldParam, FieldResult};
use super::bindings::{aggregate, transform};
use super::error::{ConfigureError, clip};
use crate::schema::{DECIMAL_DIGITS, DataType, Field, Schema};

/// Columns that a guest's contract may list at most, to bound what a wrong one costs.
const COLUMNS_MAX: usize = 4096;

/// Bytes of a column's name. No table takes longer ones, and every message about the column has it.
const NAME_BYTES_MAX: usize = 255;

/// A transform's contract, resolved for its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransformContract {
    /// where the columns that `apply` gets stand in the input, in its order
    pub needs: Vec<usize>,
    /// the columns that it returns, in its order
    pub returns: Vec<Field>,
    /// whether it may omit or repeat rows
    pub selects: bool,
    /// the stream that it makes: the input without what it drops; what it returns in place of a
    /// column of the same name, or else at the end
    pub output: Schema,
    /// where each column of `output` comes from
    pub sources: Vec<OutputColumn>,
}

/// Where a column of a transform's output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputColumn {
    /// this column of the input, as it was
    Kept(usize),
    /// this one of the columns that the guest returns
    Returned(usize),
}

/// An aggregate's contract, resolved for its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateContract {
    /// where the columns that `fold` gets stand in the input, in its order
    pub needs: Vec<usize>,
    /// the columns of a state
    pub state: Schema,
    /// raised when older states cannot be read unchanged
    pub state_version: u32,
    /// the columns of what `finish` makes of a state
    pub output: Schema,
}

impl TransformContract {
    pub(super) fn resolve(
        declared: transform::Contract,
        input: &Schema,
    ) -> Result<Self, ConfigureError> {
        let needs = resolve_names("needs", &declared.needs, input)?;
        let drops = resolve_names("drops", &declared.drops, input)?;
        let returns = fields("returns", declared.returns)?.fields().to_vec();

        let returned = |name: &str| returns.iter().position(|field| field.name == name);
        let mut columns = Vec::new();
        for (index, field) in input.fields().iter().enumerate() {
            if drops.contains(&index) {
                continue;
            }
            columns.push(match returned(&field.name) {
                Some(index) => (returns[index].clone(), OutputColumn::Returned(index)),
                None => (field.clone(), OutputColumn::Kept(index)),
            });
        }
        for (index, field) in returns.iter().enumerate() {
            let source = OutputColumn::Returned(index);
            if columns.iter().all(|&(_, placed)| placed != source) {
                columns.push((field.clone(), source));
            }
        }
        let (output, sources) = columns.into_iter().unzip();
        Ok(Self {
            needs,
            returns,
            selects: declared.selects,
            output: schema("output", output)?,
            sources,
        })
    }
}

impl AggregateContract {
    pub(super) fn resolve(
        declared: aggregate::Contract,
        input: &Schema,
    ) -> Result<Self, ConfigureError> {
        Ok(Self {
            needs: resolve_names("needs", &declared.needs, input)?,
            state: fields("state", declared.state)?,
            state_version: declared.state_version,
            output: fields("output", declared.output)?,
        })
    }
}

fn resolve_names(
    verb: &'static str,
    names: &[String],
    input: &Schema,
) -> Result<Vec<usize>, ConfigureError> {
    let mut indices = Vec::new();
    for name in names {
        let Some(index) = input.index_of(name) else {
            return Err(ConfigureError::MissingColumn {
                verb,
                column: clip(name),
                there: names_of(input),
            });
        };
        if indices.contains(&index) {
            return Err(ConfigureError::Contract(format!(
                "it {verb} column `{name}` twice"
            )));
        }
        indices.push(index);
    }
    Ok(indices)
}

fn names_of(schema: &Schema) -> String {
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| format!("`{}`", field.name))
        .collect();
    if names.is_empty() {
        "no columns".to_owned()
    } else {
        names.join(", ")
    }
}

fn fields(list: &str, fields: Vec<FieldResult>) -> Result<Schema, ConfigureError> {
    let wrong = |what: String| ConfigureError::Contract(format!("in `{list}`, {what}"));
    if fields.len() > COLUMNS_MAX {
        return Err(wrong(format!("there are {} columns", fields.len())));
    }
    let fields = fields.into_iter().map(|field| {
        if field.name.is_empty() {
            return Err(wrong("a column has no name".to_owned()));
        }
        if field.name.len() > NAME_BYTES_MAX {
            return Err(wrong(format!(
                "the name of a column has {} bytes, and may have {NAME_BYTES_MAX}",
                field.name.len()
            )));
        }
        if field.name.contains(char::is_control) {
            return Err(wrong(format!(
                "the name of column `{}` has a control character",
                clip(&field.name)
            )));
        }
        let ty = from_wit(field.ty).map_err(|scale| {
            wrong(format!(
                "column `{}` has {scale} decimal places, and a decimal has at most {DECIMAL_DIGITS}",
                clip(&field.name)
            ))
        })?;
        Ok(Field::new(field.name, ty, field.nullable))
    });
    schema(list, fields.collect::<Result<_, _>>()?)
}

fn schema(list: &str, fields: Vec<Field>) -> Result<Schema, ConfigureError> {
    Schema::new(fields).map_err(|error| {
        ConfigureError::Contract(format!("in `{list}`, {}", clip(&error.to_string())))
    })
}

/// The scale, where it is too large.
fn from_wit(ty: WitType) -> Result<DataType, u8> {
    Ok(match ty {
        WitType::Boolean => DataType::Boolean,
        WitType::Int64 => DataType::Int64,
        WitType::Float64 => DataType::Float64,
        WitType::Decimal(scale) if scale <= DECIMAL_DIGITS => DataType::Decimal(scale),
        WitType::Decimal(scale) => return Err(scale),
        WitType::Utf8 => DataType::Utf8,
        WitType::Binary => DataType::Binary,
        WitType::Timestamp => DataType::Timestamp,
        WitType::Date => DataType::Date,
    })
}

fn to_wit(ty: DataType) -> WitType {
    match ty {
        DataType::Boolean => WitType::Boolean,
        DataType::Int64 => WitType::Int64,
        DataType::Float64 => WitType::Float64,
        DataType::Decimal(scale) => WitType::Decimal(scale),
        DataType::Utf8 => WitType::Utf8,
        DataType::Binary => WitType::Binary,
        DataType::Timestamp => WitType::Timestamp,
        DataType::Date => WitType::Date,
    }
}

/// A schema as a parameter of `configure`.
pub(super) fn field_params(schema: &Schema) -> Vec<FieldParam<'_>> {
    schema
        .fields()
        .iter()
        .map(|field| FieldParam {
            name: &field.name,
            ty: to_wit(field.ty),
            nullable: field.nullable,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, ty: DataType) -> Field {
        Field::new(name, ty, false)
    }

    fn returned(name: &str, ty: WitType) -> FieldResult {
        FieldResult {
            name: name.into(),
            ty,
            nullable: false,
        }
    }

    fn input() -> Schema {
        Schema::new(vec![
            field("a", DataType::Int64),
            field("b", DataType::Utf8),
            field("c", DataType::Utf8),
        ])
        .unwrap()
    }

    fn contract(needs: &[&str], returns: Vec<FieldResult>, drops: &[&str]) -> transform::Contract {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        transform::Contract {
            needs: names(needs),
            returns,
            drops: names(drops),
            selects: false,
        }
    }

    fn refusal(declared: transform::Contract) -> String {
        TransformContract::resolve(declared, &input())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_output_replaces_in_place_drops_and_appends() {
        let returns = vec![returned("d", WitType::Date), returned("b", WitType::Int64)];
        let declared = contract(&["c", "a"], returns, &["a"]);
        let contract = TransformContract::resolve(declared, &input()).unwrap();
        assert_eq!(contract.needs, [2, 0]);
        assert_eq!(
            contract.output.fields(),
            [
                field("b", DataType::Int64),
                field("c", DataType::Utf8),
                field("d", DataType::Date),
            ]
        );
        assert_eq!(
            contract.sources,
            [
                OutputColumn::Returned(1),
                OutputColumn::Kept(2),
                OutputColumn::Returned(0),
            ]
        );
    }

    #[test]
    fn a_column_that_is_dropped_and_returned_stands_at_the_end() {
        let declared = contract(&[], vec![returned("a", WitType::Int64)], &["a"]);
        let contract = TransformContract::resolve(declared, &input()).unwrap();
        let names: Vec<_> = contract.output.fields().iter().map(|f| &f.name).collect();
        assert_eq!(names, ["b", "c", "a"]);
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_there_are() {
        assert_eq!(
            refusal(contract(&["x"], vec![], &[])),
            "the guest needs column `x`, and its input has only `a`, `b`, `c`"
        );
        assert_eq!(
            refusal(contract(&[], vec![], &["x"])),
            "the guest drops column `x`, and its input has only `a`, `b`, `c`"
        );
    }

    #[test]
    fn a_contract_that_contradicts_itself_is_refused() {
        assert_eq!(
            refusal(contract(&["a", "a"], vec![], &[])),
            "the guest's contract is wrong: it needs column `a` twice"
        );
        let twice = vec![returned("d", WitType::Date), returned("d", WitType::Date)];
        assert_eq!(
            refusal(contract(&[], twice, &[])),
            "the guest's contract is wrong: in `returns`, column `d` occurs twice"
        );
        assert_eq!(
            refusal(contract(
                &[],
                vec![returned("d", WitType::Decimal(19))],
                &[]
            )),
            "the guest's contract is wrong: in `returns`, column `d` has 19 decimal places, \
             and a decimal has at most 18"
        );
        assert_eq!(
            refusal(contract(&[], vec![returned("", WitType::Date)], &[])),
            "the guest's contract is wrong: in `returns`, a column has no name"
        );
        let long = "é".repeat(NAME_BYTES_MAX);
        assert_eq!(
            refusal(contract(&[], vec![returned(&long, WitType::Date)], &[])),
            "the guest's contract is wrong: in `returns`, the name of a column has 510 bytes, \
             and may have 255"
        );
        assert_eq!(
            refusal(contract(
                &[],
                vec![returned("a\u{1b}[2J", WitType::Date)],
                &[]
            )),
            "the guest's contract is wrong: in `returns`, the name of column `a\u{fffd}[2J` has \
             a control character"
        );
    }

    #[test]
    fn an_aggregate_has_each_state_column_once() {
        let declared = aggregate::Contract {
            needs: vec!["a".into()],
            state: vec![returned("s", WitType::Int64), returned("s", WitType::Int64)],
            state_version: 1,
            output: vec![],
        };
        assert_eq!(
            AggregateContract::resolve(declared, &input())
                .unwrap_err()
                .to_string(),
            "the guest's contract is wrong: in `state`, column `s` occurs twice"
        );
    }

    #[test]
    fn every_type_crosses_and_comes_back() {
        for ty in [
            DataType::Boolean,
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal(18),
            DataType::Utf8,
            DataType::Binary,
            DataType::Timestamp,
            DataType::Date,
        ] {
            assert_eq!(from_wit(to_wit(ty)), Ok(ty));
        }
    }
}
