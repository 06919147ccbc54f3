//! Which column each field is, and with which type: settled once, at `configure`.

use std::fmt;

use crate::columns::{self, Column, DataType, Field};

use super::traits::{Input, OpenColumns, RowField};
use super::value::Expected;

/// Names columns as the config does; handed to `bind` of a guest.
///
/// ```
/// # use wasmill_guest::Bind;
/// # fn bind(columns: &mut Bind<'_>, column: &str) -> Result<(), String> {
/// columns.input("amount", column); // the field `amount` of the input is this column
/// let scale = columns.scale("amount")?;
/// columns.output("total", format!("{column}_total")).output_scale("total", scale);
/// # Ok(())
/// # }
/// ```
///
/// A field that the struct does not have is a mistake in the guest and refuses every pipeline.
#[derive(Debug)]
pub struct Bind<'a> {
    schema: &'a [Field],
    input: Vec<Bound>,
    output: Vec<Bound>,
    state: Vec<Bound>,
    drops: Vec<String>,
    fault: Option<String>,
}

/// What a field belongs to.
#[derive(Debug, Clone, Copy)]
enum Part {
    Input,
    Output,
    State,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::State => "state",
        })
    }
}

/// A field, and the column that it is.
#[derive(Debug)]
struct Bound {
    field: RowField,
    column: String,
    /// of an `AnyDecimal` that is written
    scale: Option<u8>,
    /// what it is called in messages
    label: Option<String>,
}

/// Where a field is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// index of the column in the batch
    pub(super) column: usize,
    /// that of the column
    pub(super) ty: DataType,
}

/// The input, bound.
#[derive(Debug)]
pub(super) struct BoundInput {
    /// columns to ask for, each once
    pub(super) needs: Vec<String>,
    /// one a field
    pub(super) sources: Vec<Source>,
}

/// What is written, bound.
#[derive(Debug)]
pub(super) struct BoundOutput {
    pub(super) fields: Vec<Field>,
    /// one a field
    pub(super) types: Vec<DataType>,
    labels: Vec<String>,
}

impl<'a> Bind<'a> {
    pub(super) fn new(
        schema: &'a [Field],
        input: &[RowField],
        output: &[RowField],
        state: &[RowField],
    ) -> Self {
        let bound = |fields: &[RowField]| fields.iter().map(Bound::new).collect();
        Self {
            schema,
            input: bound(input),
            output: bound(output),
            state: bound(state),
            drops: Vec::new(),
            fault: None,
        }
    }

    /// All columns of the stream.
    #[must_use]
    pub fn schema(&self) -> &'a [Field] {
        self.schema
    }

    /// Reads a field of the input from this column.
    pub fn input(&mut self, field: &str, column: impl Into<String>) -> &mut Self {
        self.change(Part::Input, field, |bound| bound.column = column.into())
    }

    /// Writes a field of the output to this column.
    pub fn output(&mut self, field: &str, column: impl Into<String>) -> &mut Self {
        self.change(Part::Output, field, |bound| bound.column = column.into())
    }

    /// Writes an [`AnyDecimal`](crate::AnyDecimal) of the output with so many digits after the point.
    pub fn output_scale(&mut self, field: &str, scale: u8) -> &mut Self {
        self.change(Part::Output, field, |bound| bound.scale = Some(scale))
    }

    /// Keeps an [`AnyDecimal`](crate::AnyDecimal) of the state with so many digits after the point.
    pub fn state_scale(&mut self, field: &str, scale: u8) -> &mut Self {
        self.change(Part::State, field, |bound| bound.scale = Some(scale))
    }

    /// What a field of the state is called in messages, such as "the sum of `amount` in a group".
    pub fn state_label(&mut self, field: &str, label: impl Into<String>) -> &mut Self {
        self.change(Part::State, field, |bound| bound.label = Some(label.into()))
    }

    /// Ends a column of the input here: the output stream does not have it. Of transforms only.
    pub fn drop_column(&mut self, column: impl Into<String>) -> &mut Self {
        self.drops.push(column.into());
        self
    }

    /// Digits after the point of the decimal column that a field of the input is read from.
    ///
    /// # Errors
    ///
    /// When there is no such column, or it is no decimal.
    pub fn scale(&self, field: &str) -> Result<u8, String> {
        let bound = self.input.iter().find(|bound| bound.field.field == field);
        let bound = bound.ok_or_else(|| unknown(Part::Input, &self.input, field))?;
        columns::decimal_scale(self.schema, &bound.column)
    }

    /// Changes a field, or remembers the mistake if it is the first.
    fn change(&mut self, of: Part, field: &str, change: impl FnOnce(&mut Bound)) -> &mut Self {
        let fields = match of {
            Part::Input => &mut self.input,
            Part::Output => &mut self.output,
            Part::State => &mut self.state,
        };
        if let Some(bound) = fields.iter_mut().find(|bound| bound.field.field == field) {
            change(bound);
        } else {
            let unknown = || Some(unknown(of, fields, field));
            self.fault = self.fault.take().or_else(unknown);
        }
        self
    }

    /// Settles everything: what `I` reads, what is written, what is kept, what ends here.
    pub(super) fn settle<'i, I: Input<'i>>(
        self,
    ) -> Result<(BoundInput, BoundOutput, BoundOutput, Vec<String>), String> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        Ok((
            bind_input(I::NAME, &self.input, self.schema)?,
            bind_output(Part::Output, &self.output)?,
            bind_output(Part::State, &self.state)?,
            self.drops,
        ))
    }
}

impl Bound {
    fn new(field: &RowField) -> Self {
        Self {
            field: *field,
            column: field.column.to_owned(),
            scale: None,
            label: None,
        }
    }
}

fn unknown(of: Part, bound: &[Bound], field: &str) -> String {
    let names: Vec<_> = bound.iter().map(|bound| bound.field.field).collect();
    format!(
        "a mistake in the guest: its {of} has no field `{field}`, but {}",
        names.join(", ")
    )
}

/// Asks for each column once, however many fields it has.
fn bind_input(name: &str, bound: &[Bound], schema: &[Field]) -> Result<BoundInput, String> {
    let mut needs: Vec<String> = Vec::new();
    let mut sources = resolve(name, bound, schema)?;
    for source in &mut sources {
        let column = &schema[source.column].name;
        let at = needs.iter().position(|need| need == column);
        source.column = at.unwrap_or_else(|| {
            needs.push(column.clone());
            needs.len() - 1
        });
    }
    Ok(BoundInput { needs, sources })
}

/// The column of each field, by its index in the schema.
fn resolve(name: &str, bound: &[Bound], schema: &[Field]) -> Result<Vec<Source>, String> {
    let source = |bound: &Bound| {
        let found = columns::find(schema, &bound.column)?;
        check(name, &bound.field, found)?;
        let column = schema.iter().position(|field| field == found);
        let ty = found.ty;
        Ok(Source {
            column: column.expect("it was found there"),
            ty,
        })
    };
    bound.iter().map(source).collect()
}

/// Where the fields of `S` are read from in a batch with all these columns.
pub(super) fn sources_of<'s, S: Input<'s>>(columns: &[Field]) -> Result<Vec<Source>, String> {
    let bound: Vec<_> = S::FIELDS.iter().map(Bound::new).collect();
    resolve(S::NAME, &bound, columns)
}

fn check(name: &str, field: &RowField, found: &Field) -> Result<(), String> {
    match (field.expected, found.ty) {
        (Expected::AnyDecimal, DataType::Decimal(_)) => {}
        (Expected::AnyDecimal, _) => return Err(columns::wrong_type(found, "a decimal")),
        (Expected::Exactly(ty), found_ty) if ty != found_ty => {
            return Err(columns::wrong_type(found, &ty.to_string()));
        }
        (Expected::Exactly(_), _) => {}
    }
    if found.nullable && !field.nullable {
        let (column, field) = (&found.name, field.field);
        return Err(format!(
            "column `{column}` has to be there in every row, but is nullable: in the guest, \
             `{field}` of `{name}` is no `Option`"
        ));
    }
    Ok(())
}

fn bind_output(of: Part, bound: &[Bound]) -> Result<BoundOutput, String> {
    let field = |bound: &Bound| {
        let ty = match (bound.field.expected, bound.scale) {
            (Expected::Exactly(ty), _) => ty,
            (Expected::AnyDecimal, Some(scale)) => DataType::Decimal(scale),
            (Expected::AnyDecimal, None) => {
                return Err(format!(
                    "a mistake in the guest: `bind` has to say the scale of `{0}`: \
                     `columns.{of}_scale(\"{0}\", …)`",
                    bound.field.field
                ));
            }
        };
        Ok(Field {
            name: bound.column.clone(),
            ty,
            nullable: bound.field.nullable,
        })
    };
    let fields = bound.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let label = |bound: &Bound| {
        let default = || format!("`{}`", bound.column);
        bound.label.clone().unwrap_or_else(default)
    };
    Ok(BoundOutput {
        types: fields.iter().map(|field| field.ty).collect(),
        labels: bound.iter().map(label).collect(),
        fields,
    })
}

impl BoundOutput {
    /// What to say of a value that does not fit.
    #[cold]
    pub(super) fn explain(&self, (field, fault): (usize, &'static str)) -> String {
        format!("{} {fault}", self.labels[field])
    }
}

impl<'a> OpenColumns<'a, '_> {
    /// Opens the column of a field with the function of its type. For the derive macros.
    ///
    /// # Errors
    ///
    /// When the batch is not as the contract has it.
    #[inline]
    pub fn open<C>(
        &self,
        field: usize,
        nullable: bool,
        open: impl FnOnce(&'a Column, DataType, usize) -> Option<C>,
    ) -> Result<C, String> {
        let Source { column, ty } = self.sources[field];
        let columns: &'a [Column] = self.columns;
        let opened = columns
            .get(column)
            .filter(|column| nullable || column.validity.is_none())
            .and_then(|column| open(column, ty, self.rows));
        opened.ok_or_else(|| format!("column {column} of the batch is not {ty} as configured"))
    }
}

/// Names and types, for messages.
pub(super) fn list(fields: &[Field]) -> String {
    let show = |field: &Field| {
        let mark = if field.nullable { "?" } else { "" };
        format!("{} {}{mark}", field.name, field.ty)
    };
    fields.iter().map(show).collect::<Vec<_>>().join(", ")
}
