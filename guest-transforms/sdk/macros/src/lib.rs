//! The macros of `wasmill-guest`, which re-exports all of them.

mod derive;
mod export;
mod field_type;
mod row;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, Type, parse_macro_input};

use export::Level;
use row::{Role, Row};

/// Reads a struct from the columns of a row.
///
/// A field has one of the types
///
/// | type | column |
/// |---|---|
/// | `bool` | `boolean` |
/// | `i64` | `int64` |
/// | `f64` | `float64` |
/// | `Decimal<S>` | `decimal(S)` |
/// | `AnyDecimal` | `decimal` of any scale |
/// | `&'a str` | `utf8` |
/// | `&'a [u8]` | `binary` |
/// | `Timestamp` | `timestamp` |
/// | `Date` | `date` |
///
/// or is an `Option` of one. `#[column(name = "…")]` names its column where the field has another name.
#[proc_macro_derive(Input, attributes(column))]
pub fn derive_input(item: TokenStream) -> TokenStream {
    expand(
        parse_macro_input!(item as DeriveInput),
        Role::Input,
        derive::input,
    )
}

/// Writes a struct to the columns of a row.
///
/// Types are those of [`Input`](macro@Input), but text is `String` or `&'static str`, and bytes are
/// `Vec<u8>`; a `Sum<…>` is what it is a sum of. The scale of an `AnyDecimal` is told by `bind`.
#[proc_macro_derive(Output, attributes(column))]
pub fn derive_output(item: TokenStream) -> TokenStream {
    expand(
        parse_macro_input!(item as DeriveInput),
        Role::Output,
        derive::output,
    )
}

/// Keeps a struct for each group, as a row of columns.
///
/// Types are those of [`Output`](macro@Output), without `&'static str`. The struct needs a `Default`, the
/// state of no rows. It is an `Input` and an `Output` too.
#[proc_macro_derive(State, attributes(column))]
pub fn derive_state(item: TokenStream) -> TokenStream {
    expand(
        parse_macro_input!(item as DeriveInput),
        Role::State,
        derive::state,
    )
}

fn expand(
    item: DeriveInput,
    role: Role,
    generate: fn(&Row) -> proc_macro2::TokenStream,
) -> TokenStream {
    row::check(item, role)
        .map_or_else(Error::into_compile_error, |row| generate(&row))
        .into()
}

/// Exports a `Transform` as the component's one interface: `wasmill_guest::transform!(Currency);`.
///
/// In a native build nothing is exported.
#[proc_macro]
pub fn transform(guest: TokenStream) -> TokenStream {
    export::transform(&parse_macro_input!(guest as Type), Level::Rows).into()
}

/// Exports an `Aggregate` as the component's one interface: `wasmill_guest::aggregate!(Totals);`.
///
/// In a native build nothing is exported.
#[proc_macro]
pub fn aggregate(guest: TokenStream) -> TokenStream {
    export::aggregate(&parse_macro_input!(guest as Type), Level::Rows).into()
}

/// Exports a `ColumnTransform` as the component's one interface.
///
/// In a native build nothing is exported.
#[proc_macro]
pub fn column_transform(guest: TokenStream) -> TokenStream {
    export::transform(&parse_macro_input!(guest as Type), Level::Columns).into()
}

/// Exports a `ColumnAggregate` as the component's one interface.
///
/// In a native build nothing is exported.
#[proc_macro]
pub fn column_aggregate(guest: TokenStream) -> TokenStream {
    export::aggregate(&parse_macro_input!(guest as Type), Level::Columns).into()
}
