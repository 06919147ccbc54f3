//! The export: `wit_bindgen::generate!` inside of the guest's own crate.
//!
//! Only there, because `generate!` puts the type of the component into a section of the object file
//! that it is compiled into: were it in the SDK, every guest would claim to export both interfaces.
//! The text of the contract is in this crate (`wit/`, a copy of the repository's), so that a guest
//! needs no file but its own.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

/// The package, whose head stands in `guest.wit`.
const CONTRACT: &str = concat!(
    include_str!("../wit/guest.wit"),
    include_str!("../wit/data.wit"),
    include_str!("../wit/transform.wit"),
    include_str!("../wit/aggregate.wit"),
);

/// What a guest implements: the column level, or the row level above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Columns,
    Rows,
}

/// Exports a transform.
pub(crate) fn transform(guest: &Type, level: Level) -> TokenStream {
    let implements = match level {
        Level::Columns => implements(guest, &quote!(ColumnTransform), None),
        Level::Rows => implements(guest, &quote!(Transform), Some(&quote!(TransformRows))),
    };
    let bindings = bindings("transform-guest");
    let common = common();
    quote! {
        #implements

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod __wasmill_export {
            #bindings
            use exports::wasmill::guest::transform::{Changes, Contract, Guest};
            #common

            impl Guest for Export {
                fn describe() -> Description {
                    describe::<<Configured as ::wasmill_guest::ColumnTransform>::Config>()
                }

                fn configure(
                    input: ::std::vec::Vec<Field>,
                    config: ::std::string::String,
                ) -> ::std::result::Result<Contract, ::std::string::String> {
                    let (guest, contract) =
                        ::wasmill_guest::export::configure_transform::<Configured>(&input, &config)?;
                    GUEST.set(::std::option::Option::Some(guest));
                    ::std::result::Result::Ok(Contract {
                        needs: contract.needs,
                        returns: contract.returns,
                        drops: contract.drops,
                        selects: contract.selects,
                    })
                }

                fn apply(input: Batch) -> ::std::result::Result<Changes, ::std::string::String> {
                    let changes = with_guest(|guest| {
                        ::wasmill_guest::ColumnTransform::apply(guest, input)
                    })?;
                    ::std::result::Result::Ok(Changes {
                        selection: changes.selection,
                        columns: changes.columns,
                        rejections: changes.rejections,
                    })
                }
            }
        }
    }
}

/// Exports an aggregate.
pub(crate) fn aggregate(guest: &Type, level: Level) -> TokenStream {
    let implements = match level {
        Level::Columns => implements(guest, &quote!(ColumnAggregate), None),
        Level::Rows => implements(guest, &quote!(Aggregate), Some(&quote!(AggregateRows))),
    };
    let bindings = bindings("aggregate-guest");
    let common = common();
    quote! {
        #implements

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod __wasmill_export {
            #bindings
            use exports::wasmill::guest::aggregate::{Contract, Folded, Guest};
            #common

            impl Guest for Export {
                fn describe() -> Description {
                    describe::<<Configured as ::wasmill_guest::ColumnAggregate>::Config>()
                }

                fn configure(
                    input: ::std::vec::Vec<Field>,
                    config: ::std::string::String,
                ) -> ::std::result::Result<Contract, ::std::string::String> {
                    let (guest, contract) =
                        ::wasmill_guest::export::configure_aggregate::<Configured>(&input, &config)?;
                    GUEST.set(::std::option::Option::Some(guest));
                    ::std::result::Result::Ok(Contract {
                        needs: contract.needs,
                        state: contract.state,
                        state_version: contract.state_version,
                        output: contract.output,
                    })
                }

                fn fold(
                    groups: ::std::vec::Vec<u32>,
                    group_count: u32,
                    input: Batch,
                ) -> ::std::result::Result<Folded, ::std::string::String> {
                    let folded = with_guest(|guest| {
                        ::wasmill_guest::ColumnAggregate::fold(guest, &groups, group_count, input)
                    })?;
                    ::std::result::Result::Ok(match folded {
                        ::wasmill_guest::Folded::States(states) => Folded::States(states),
                        ::wasmill_guest::Folded::Rejected(rows) => Folded::Rejected(rows),
                    })
                }

                fn merge(
                    groups: ::std::vec::Vec<u32>,
                    group_count: u32,
                    parts: Batch,
                ) -> ::std::result::Result<Batch, ::std::string::String> {
                    with_guest(|guest| {
                        ::wasmill_guest::ColumnAggregate::merge(guest, &groups, group_count, parts)
                    })
                }

                fn finish(states: Batch) -> ::std::result::Result<Batch, ::std::string::String> {
                    with_guest(|guest| ::wasmill_guest::ColumnAggregate::finish(guest, states))
                }

                fn migrate(
                    version: u32,
                    state: ::std::vec::Vec<Field>,
                    states: Batch,
                ) -> ::std::result::Result<Batch, ::std::string::String> {
                    with_guest(|guest| {
                        ::wasmill_guest::ColumnAggregate::migrate(guest, version, &state, states)
                    })
                }
            }
        }
    }
}

/// What is exported, under a name of its own: the guest, wrapped to the column level where it needs it.
/// And that it implements its trait, which holds in a native build too, so that an error comes with
/// `cargo check`.
fn implements(guest: &Type, wanted: &TokenStream, wrapper: Option<&TokenStream>) -> TokenStream {
    let exported = wrapper.map_or_else(
        || quote!(#guest),
        |wrapper| quote!(::wasmill_guest::#wrapper<#guest>),
    );
    let check = quote_spanned! {guest.span()=>
        const _: () = {
            const fn is_guest<T: ::wasmill_guest::#wanted>() {}
            is_guest::<#guest>();
        };
    };
    quote! {
        #check

        #[doc(hidden)]
        #[cfg(target_family = "wasm")]
        type __WasmillGuest = #exported;
    }
}

fn bindings(world: &str) -> TokenStream {
    quote! {
        ::wasmill_guest::export::wit_bindgen::generate!({
            inline: #CONTRACT,
            path: [],
            world: #world,
            runtime_path: "::wasmill_guest::export::wit_bindgen::rt",
            with: { "wasmill:guest/data@0.1.0": ::wasmill_guest::columns },
        });
    }
}

/// The instance, which `configure` makes; an instance of a component has one thread.
fn common() -> TokenStream {
    quote! {
        use ::wasmill_guest::columns::{Batch, Description, Field};
        use super::__WasmillGuest as Configured;

        struct Export;
        export!(Export);

        ::std::thread_local! {
            static GUEST: ::std::cell::RefCell<::std::option::Option<Configured>> =
                const { ::std::cell::RefCell::new(::std::option::Option::None) };
        }

        fn describe<C: ::wasmill_guest::schemars::JsonSchema>() -> Description {
            ::wasmill_guest::export::describe::<C>(
                ::std::env!("CARGO_PKG_NAME"),
                ::std::env!("CARGO_PKG_VERSION"),
                ::std::env!("CARGO_PKG_DESCRIPTION"),
            )
        }

        fn with_guest<R>(
            call: impl FnOnce(&Configured) -> ::std::result::Result<R, ::std::string::String>,
        ) -> ::std::result::Result<R, ::std::string::String> {
            GUEST.with_borrow(|guest| match guest {
                ::std::option::Option::Some(guest) => call(guest),
                ::std::option::Option::None => {
                    ::std::result::Result::Err(::wasmill_guest::export::not_configured())
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_contract_is_that_of_the_repository() {
        for name in ["guest", "data", "transform", "aggregate"] {
            let here = concat!(env!("CARGO_MANIFEST_DIR"), "/wit");
            let there = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../wit");
            let read = |folder: &str| {
                let path = format!("{folder}/{name}.wit");
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
            };
            assert_eq!(
                read(here),
                read(there),
                "{name}.wit has changed: copy it from {there} to {here}"
            );
        }
    }
}
