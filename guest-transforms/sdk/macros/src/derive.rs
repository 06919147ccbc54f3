//! What the derive macros generate: the columns as a tuple, opened, read and written field by field.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Index, Lifetime};

use crate::row::{Row, RowField};

/// `impl Input`.
pub(crate) fn input(row: &Row) -> TokenStream {
    let ident = &row.ident;
    let own = row.lifetime.iter();
    let lifetime = row
        .lifetime
        .clone()
        .unwrap_or_else(|| Lifetime::new("'__batch", ident.span()));
    let value = |field: &RowField| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> <#ty as ::wasmill_guest::derive::InputValue<#lifetime>>)
    };
    let name = ident.to_string();
    let values: Vec<_> = row.fields.iter().map(value).collect();
    let descriptions = row
        .fields
        .iter()
        .map(|field| describe(field, &value(field)));
    let opens = row.fields.iter().enumerate().map(|(at, field)| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> columns.open::<#ty>(#at)?)
    });
    let reads = row.fields.iter().enumerate().map(|(at, field)| {
        let (ident, value, at) = (&field.ident, value(field), Index::from(at));
        quote!(#ident: #value::get(columns.#at, row))
    });
    quote! {
        #[automatically_derived]
        impl<#lifetime> ::wasmill_guest::Input<#lifetime> for #ident #(<#own>)* {
            type Columns = (#(#values::Column,)*);

            const NAME: &'static str = #name;

            const FIELDS: &'static [::wasmill_guest::derive::RowField] = &[#(#descriptions),*];

            #[inline]
            fn open(
                columns: &::wasmill_guest::derive::OpenColumns<#lifetime, '_>,
            ) -> ::std::result::Result<Self::Columns, ::std::string::String> {
                let _ = columns;
                ::std::result::Result::Ok((#(#opens,)*))
            }

            #[inline]
            fn read(columns: &Self::Columns, row: usize) -> Self {
                let _ = (columns, row);
                Self { #(#reads),* }
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
    let descriptions = row
        .fields
        .iter()
        .map(|field| describe(field, &value(field)));
    let at: Vec<_> = (0..row.fields.len()).map(Index::from).collect();
    let idents = row.fields.iter().map(|field| &field.ident);
    let pushes = row.fields.iter().enumerate().map(|(number, field)| {
        let (ident, value, at) = (&field.ident, value(field), Index::from(number));
        quote! {
            if let ::std::result::Result::Err(fault) = #value::write(#ident, &mut builders.#at) {
                return ::std::result::Result::Err((#number, fault));
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::wasmill_guest::Output for #ident {
            type Builders = (#(#values::Builder,)*);

            const FIELDS: &'static [::wasmill_guest::derive::RowField] = &[#(#descriptions),*];

            fn builders(
                types: &[::wasmill_guest::DataType],
                rows: usize,
            ) -> Self::Builders {
                let _ = (types, rows);
                (#(#values::builder(types[#at], rows),)*)
            }

            #[inline]
            fn push(
                self,
                builders: &mut Self::Builders,
            ) -> ::std::result::Result<(), (usize, &'static str)> {
                let Self { #(#idents),* } = self;
                let _ = &builders;
                #(#pushes)*
                ::std::result::Result::Ok(())
            }

            fn truncate(builders: &mut Self::Builders, rows: usize) {
                let _ = (&builders, rows);
                #(#values::truncate(&mut builders.#at, rows);)*
            }

            fn finish(builders: Self::Builders) -> ::std::vec::Vec<::wasmill_guest::Column> {
                let _ = &builders;
                ::std::vec![#(#values::finish(builders.#at)),*]
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

fn describe(field: &RowField, value: &TokenStream) -> TokenStream {
    let (name, column) = (field.ident.to_string(), &field.column);
    let name = name.strip_prefix("r#").unwrap_or(&name);
    quote! {
        ::wasmill_guest::derive::RowField {
            field: #name,
            column: #column,
            expected: #value::EXPECTED,
            nullable: #value::NULLABLE,
        }
    }
}
