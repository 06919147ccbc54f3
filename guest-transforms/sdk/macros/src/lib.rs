//! The macros of `wasmill-guest`, where they are documented.

mod export;

use proc_macro::TokenStream;
use syn::{Type, parse_macro_input};

/// Exports a `ColumnTransform` as the component's one interface. In a native build it exports nothing.
#[proc_macro]
pub fn column_transform(guest: TokenStream) -> TokenStream {
    export::transform(&parse_macro_input!(guest as Type)).into()
}

/// Exports a `ColumnAggregate` as the component's one interface. In a native build it exports nothing.
#[proc_macro]
pub fn column_aggregate(guest: TokenStream) -> TokenStream {
    export::aggregate(&parse_macro_input!(guest as Type)).into()
}
