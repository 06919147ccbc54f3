//! What the derive macros generate: a struct of the opened columns, or of their builders, and the row
//! read from or written to it field by field.
//!
//! Whatever names the type of a field has the field's span, so that a type that no column has is reported
//! there, and once.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, Index, Lifetime};

use crate::row::{Row, RowField};

/// `impl Input`.
pub(crate) fn input(row: &Row) -> TokenStream {
    let ident = &row.ident;
    let own = row.lifetime.iter();
    let lifetime = row
        .lifetime
        .clone()
        .unwrap_or_else(|| Lifetime::new("'batch", ident.span()));
    let value = |field: &RowField| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> <#ty as ::wasmill_guest::derive::InputValue<#lifetime>>)
    };
    let values: Vec<_> = row.fields.iter().map(value).collect();
    let item = |item: &str| items(row, &values, item);
    let (columns, nullable) = (item("Column"), item("NULLABLE"));
    let (open, get) = (item("open"), item("get"));
    let descriptions = row
        .fields
        .iter()
        .map(|field| describe(field, &value(field)));
    let name = ident.unraw().to_string();
    let idents = row.fields.iter().map(|field| &field.ident);
    let numbers = 0..row.fields.len();
    let at = (0..row.fields.len()).map(Index::from);
    quote! {
            #[automatically_derived]
            impl<#lifetime> ::wasmill_guest::Input<#lifetime> for #ident #(<#own>)* {
                type Columns = (#(#columns,)*);

                const NAME: &'static str = #name;

                const FIELDS: &'static [::wasmill_guest::derive::RowField] = &[#(#descriptions),*];

                #[inline]
                fn open(
                    columns: &::wasmill_guest::derive::OpenColumns<#lifetime, '_>,
                ) -> ::std::result::Result<Self::Columns, ::std::string::String> {
                    let _ = columns;
                    ::std::result::Result::Ok((
                        #(columns.open(#numbers, #nullable, #open)?,)*
                    ))
                }

                #[inline]
                fn read(columns: &Self::Columns, row: usize) -> Self {
                    let _ = (columns, row);
                    Self { #(#idents: #get(columns.#at, row)),* }
                }
            }
    }
}

/// `impl Output`.
pub(crate) fn output(row: &Row) -> TokenStream {
    let ident = &row.ident;
    let value = |field: &RowField| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> <#ty as ::wasmill_guest::derive::OutputValue>)
    };
    let values: Vec<_> = row.fields.iter().map(value).collect();
    let item = |item: &str| items(row, &values, item);
    let (builders, builder, write) = (item("Builder"), item("builder"), item("write"));
    let (truncate, finish) = (item("truncate"), item("finish"));
    let descriptions = row
        .fields
        .iter()
        .map(|field| describe(field, &value(field)));
    let idents: Vec<_> = row.fields.iter().map(|field| &field.ident).collect();
    let numbers = 0..row.fields.len();
    let at: Vec<_> = (0..row.fields.len()).map(Index::from).collect();
    quote! {
            #[automatically_derived]
            impl ::wasmill_guest::Output for #ident {
                type Builders = (#(#builders,)*);

                const FIELDS: &'static [::wasmill_guest::derive::RowField] = &[#(#descriptions),*];

                fn builders(types: &[::wasmill_guest::DataType], rows: usize) -> Self::Builders {
                    let _ = (types, rows);
                    (#(#builder(types[#at], rows),)*)
                }

                #[inline]
                fn push(
                    self,
                    builders: &mut Self::Builders,
                ) -> ::std::result::Result<(), (usize, &'static str)> {
                    let Self { #(#idents),* } = self;
                    let _ = &builders;
                    #(
                        if let ::std::result::Result::Err(fault) =
                            #write(#idents, &mut builders.#at)
                        {
                            return ::std::result::Result::Err((#numbers, fault));
                        }
                    )*
                    ::std::result::Result::Ok(())
                }

                fn truncate(builders: &mut Self::Builders, rows: usize) {
                    let _ = (&builders, rows);
                    #(#truncate(&mut builders.#at, rows);)*
                }

                fn finish(builders: Self::Builders) -> ::std::vec::Vec<::wasmill_guest::Column> {
                    let _ = &builders;
                    ::std::vec![#(#finish(builders.#at)),*]
                }
            }
    }
}

/// `impl State`, which is read and written.
pub(crate) fn state(row: &Row) -> TokenStream {
    let ident = &row.ident;
    let (input, output) = (input(row), output(row));
    quote! {
        #input
        #output
        #[automatically_derived]
        impl ::wasmill_guest::State for #ident {}
    }
}

/// An item of the trait of each field, with the field's span from end to end.
fn items(row: &Row, values: &[TokenStream], name: &str) -> Vec<TokenStream> {
    let item = |(field, value): (&RowField, &TokenStream)| {
        let span = field.ty.span();
        let name = Ident::new(name, span);
        quote_spanned!(span=> #value::#name)
    };
    row.fields.iter().zip(values).map(item).collect()
}

fn describe(field: &RowField, value: &TokenStream) -> TokenStream {
    let (name, column) = (field.ident.unraw().to_string(), &field.column);
    quote_spanned! {field.ty.span()=>
        ::wasmill_guest::derive::RowField {
            field: #name,
            column: #column,
            expected: #value::EXPECTED,
            nullable: #value::NULLABLE,
        }
    }
}
