//! The struct that a derive macro stands on, checked.
//!
//! Whatever is wrong is said at the field that is at fault, all of it at once, with what to write instead.
//! What a type is can only be guessed from its name here; a type that is not known by name is left to the
//! compiler, which knows whether it has the trait.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Error, Field, Fields, GenericParam, Ident, Lifetime,
    LitStr, Result, Type,
};

use crate::field_type;

/// What is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    Output,
    State,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Output => "Output",
            Self::State => "State",
        }
    }
}

/// A struct with a field for each column.
pub(crate) struct Row {
    pub(crate) ident: Ident,
    /// of the batch that it borrows from
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) fields: Vec<RowField>,
}

/// A field of it.
pub(crate) struct RowField {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// the column's name
    pub(crate) column: String,
}

/// Gathers what is wrong.
#[derive(Default)]
struct Faults(Option<Error>);

impl Faults {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

/// Checks the struct for its role.
pub(crate) fn check(input: DeriveInput, role: Role) -> Result<Row> {
    let fields = named_fields(&input, role)?;
    let mut faults = Faults::default();
    let lifetime = faults.take(check_generics(&input, role)).flatten();
    refuse_attributes(&input.attrs, &mut faults);

    let mut rows = Vec::new();
    let mut columns: BTreeMap<String, Ident> = BTreeMap::new();
    for field in fields {
        faults.take(field_type::check(&field.ty, role));
        let column = faults.take(column_name(&field.attrs)).flatten();
        let ident = field.ident.expect("a field of this struct has a name");
        let (column, span) = column.map_or_else(
            || (ident.unraw().to_string(), ident.span()),
            |name| (name.value(), name.span()),
        );
        if let Some(first) = columns.get(&column) {
            faults.add(Error::new(
                span,
                format!(
                    "column `{column}` occurs twice: it is that of the field `{first}` already"
                ),
            ));
        }
        columns.insert(column.clone(), ident.clone());
        rows.push(RowField {
            ident,
            ty: field.ty,
            column,
        });
    }
    match faults.0 {
        Some(error) => Err(error),
        None => Ok(Row {
            ident: input.ident,
            lifetime,
            fields: rows,
        }),
    }
}

fn named_fields(input: &DeriveInput, role: Role) -> Result<Vec<Field>> {
    let name = role.name();
    let ident = &input.ident;
    let refuse = |at: &dyn ToTokens, what: &str| {
        Err(Error::new_spanned(
            at.to_token_stream(),
            format!(
                "{name} cannot be derived for {what}: write a struct with a field for each column, \
                 `struct {ident} {{ amount: Decimal<2> }}`"
            ),
        ))
    };
    match &input.data {
        Data::Struct(DataStruct {
            fields: Fields::Named(fields),
            ..
        }) => Ok(fields.named.iter().cloned().collect()),
        Data::Struct(DataStruct {
            fields: Fields::Unnamed(fields),
            ..
        }) => refuse(
            fields,
            "a tuple struct, whose fields have no names for the columns",
        ),
        Data::Struct(DataStruct {
            fields: Fields::Unit,
            ..
        }) => Ok(Vec::new()),
        Data::Enum(data) => refuse(&data.enum_token, "an enum"),
        Data::Union(data) => refuse(&data.union_token, "a union"),
    }
}

/// The one lifetime that a struct may have.
fn check_generics(input: &DeriveInput, role: Role) -> Result<Option<Lifetime>> {
    let mut lifetime: Option<Lifetime> = None;
    for param in &input.generics.params {
        match param {
            GenericParam::Lifetime(param) if role != Role::Input => {
                let what = match role {
                    Role::State => "a state outlives the batch",
                    _ => "what a guest returns is its own",
                };
                return Err(Error::new_spanned(
                    param,
                    format!("{what}, so it borrows nothing: use `String` or `Vec<u8>`"),
                ));
            }
            GenericParam::Lifetime(param) if lifetime.is_some() => {
                return Err(Error::new_spanned(
                    param,
                    "a row borrows from one batch, so it has one lifetime",
                ));
            }
            GenericParam::Lifetime(param) => lifetime = Some(param.lifetime.clone()),
            GenericParam::Type(_) | GenericParam::Const(_) => {
                return Err(Error::new_spanned(
                    param,
                    format!(
                        "{} cannot be derived for a generic struct: a column has one type, so name \
                         it in the field",
                        role.name()
                    ),
                ));
            }
        }
    }
    Ok(lifetime)
}

/// The name in `#[column(name = "…")]`.
fn column_name(attributes: &[Attribute]) -> Result<Option<LitStr>> {
    let mut name: Option<LitStr> = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("column")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(
                    meta.error("a column has a name and nothing else: #[column(name = \"…\")]")
                );
            }
            let value: LitStr = meta.value()?.parse()?;
            if value.value().is_empty() {
                return Err(Error::new(
                    value.span(),
                    "the name of a column is not empty",
                ));
            }
            if name.replace(value).is_some() {
                return Err(meta.error("a column has one name"));
            }
            Ok(())
        })?;
        if name.is_none() {
            return Err(Error::new_spanned(
                attribute,
                "this says nothing: #[column(name = \"…\")] names the column",
            ));
        }
    }
    Ok(name)
}

fn refuse_attributes(attributes: &[Attribute], faults: &mut Faults) {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("column")) {
        let fault = "#[column(…)] stands at a field, not at the struct";
        faults.add(Error::new_spanned(attribute, fault));
    }
}
