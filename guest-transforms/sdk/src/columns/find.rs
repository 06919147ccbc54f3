//! Finding input columns at `configure`, with messages for whoever wrote the pipeline.

use super::{DataType, Field};

/// The column of this name.
///
/// # Errors
///
/// When there is none; names those that there are.
pub fn find<'a>(input: &'a [Field], name: &str) -> Result<&'a Field, String> {
    input
        .iter()
        .find(|field| field.name == name)
        .ok_or_else(|| {
            let names: Vec<_> = input.iter().map(|field| field.name.as_str()).collect();
            let there = if names.is_empty() {
                "no columns".to_owned()
            } else {
                names.join(", ")
            };
            format!("there is no column `{name}`: the input has {there}")
        })
}

/// The column of this name, which has to have this type.
///
/// # Errors
///
/// When there is no such column, or its type is another.
pub fn typed<'a>(input: &'a [Field], name: &str, ty: DataType) -> Result<&'a Field, String> {
    let field = find(input, name)?;
    if field.ty == ty {
        Ok(field)
    } else {
        Err(wrong_type(field, &ty.to_string()))
    }
}

/// The column of this name, which has to be utf8.
///
/// # Errors
///
/// When there is no such column, or its type is another.
pub fn text<'a>(input: &'a [Field], name: &str) -> Result<&'a Field, String> {
    typed(input, name, DataType::Utf8)
}

/// The scale of the column of this name, which has to be a decimal.
///
/// # Errors
///
/// When there is no such column, or its type is another.
pub fn decimal_scale(input: &[Field], name: &str) -> Result<u8, String> {
    let field = find(input, name)?;
    match field.ty {
        DataType::Decimal(scale) => Ok(scale),
        _ => Err(wrong_type(field, "a decimal")),
    }
}

pub(crate) fn wrong_type(field: &Field, expected: &str) -> String {
    let Field { name, ty, .. } = field;
    format!("column `{name}` has to be {expected}, but is {ty}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sales() -> Vec<Field> {
        vec![
            Field::new("amount", DataType::Decimal(3)),
            Field::nullable("note", DataType::Utf8),
        ]
    }

    #[test]
    fn a_column_is_found_by_its_name() {
        assert_eq!(find(&sales(), "note"), Ok(&sales()[1]));
        assert_eq!(text(&sales(), "note"), Ok(&sales()[1]));
        assert_eq!(decimal_scale(&sales(), "amount"), Ok(3));
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_are_there() {
        let error = find(&sales(), "Amount").unwrap_err();
        assert_eq!(
            error,
            "there is no column `Amount`: the input has amount, note"
        );
        let error = find(&[], "amount").unwrap_err();
        assert_eq!(
            error,
            "there is no column `amount`: the input has no columns"
        );
    }

    #[test]
    fn a_column_of_another_type_is_named_with_the_type_that_it_has() {
        assert_eq!(
            decimal_scale(&sales(), "note").unwrap_err(),
            "column `note` has to be a decimal, but is utf8"
        );
        assert_eq!(
            text(&sales(), "amount").unwrap_err(),
            "column `amount` has to be utf8, but is decimal(3)"
        );
    }
}
