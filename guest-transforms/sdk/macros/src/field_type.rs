//! Field types that are certainly wrong, and what to write instead.

use std::fmt::Display;

use quote::ToTokens;
use syn::{
    Error, Expr, ExprLit, GenericArgument, Lit, PathArguments, PathSegment, Result, Type,
    TypeReference,
};

use crate::row::Role;

/// Refuses what no column can be, by the name of the type. What is not known passes.
pub(crate) fn check(ty: &Type, role: Role) -> Result<()> {
    match ty {
        Type::Reference(reference) => check_reference(reference, role),
        Type::Path(path) => match path.path.segments.last() {
            Some(segment) => check_named(ty, segment, role),
            None => Ok(()),
        },
        Type::Paren(inner) => check(&inner.elem, role),
        Type::Group(inner) => check(&inner.elem, role),
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => {
            refuse(ty, "a field is one value of one column")
        }
        _ => Ok(()),
    }
}

fn refuse<T>(at: impl ToTokens, what: impl Display) -> Result<T> {
    Err(Error::new_spanned(at, what))
}

fn check_reference(reference: &TypeReference, role: Role) -> Result<()> {
    let is_static = reference
        .lifetime
        .as_ref()
        .is_some_and(|l| l.ident == "static");
    match role {
        Role::Output if is_static => return Ok(()),
        Role::Output => {
            return refuse(
                reference,
                "what a guest returns is its own: use `String`, `Vec<u8>` or `&'static str`",
            );
        }
        Role::State => {
            return refuse(
                reference,
                "a state outlives the batch: use `String` or `Vec<u8>`",
            );
        }
        Role::Input => {}
    }
    if reference.mutability.is_some() {
        return refuse(reference, "a row is only read: use `&'a str` or `&'a [u8]`");
    }
    if is_static {
        return refuse(
            reference,
            "it is borrowed from the batch, which does not live for ever: give the struct a lifetime, \
             `struct Row<'a> { name: &'a str }`",
        );
    }
    if reference.lifetime.is_none() {
        return refuse(
            reference,
            "it is borrowed from the batch: give the struct a lifetime, `struct Row<'a> { name: &'a str }`",
        );
    }
    match &*reference.elem {
        Type::Path(path) if path.path.is_ident("str") => Ok(()),
        Type::Slice(slice) if matches!(&*slice.elem, Type::Path(byte) if byte.path.is_ident("u8")) => {
            Ok(())
        }
        Type::Path(path) if path.path.is_ident("String") => {
            refuse(reference, "text is borrowed from the batch: use `&'a str`")
        }
        _ => refuse(
            reference,
            "only text and bytes are borrowed from the batch: `&'a str`, `&'a [u8]`; other values are copied",
        ),
    }
}

fn check_named(ty: &Type, segment: &PathSegment, role: Role) -> Result<()> {
    let name = segment.ident.to_string();
    match name.as_str() {
        "f32" => refuse(ty, "a column of floats is `f64`"),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i128"
        | "isize" => refuse(
            ty,
            "a column of whole numbers is `i64`: convert where you use it",
        ),
        "char" | "str" | "Box" | "Cow" | "Rc" | "Arc" => refuse(ty, text(role)),
        "String" if role == Role::Input => refuse(ty, text(role)),
        "Vec" if role == Role::Input => refuse(
            ty,
            "bytes are borrowed from the batch: give the struct a lifetime and use `&'a [u8]`",
        ),
        "Vec" => check_bytes(ty, segment),
        "Sum" if role == Role::Input => refuse(
            ty,
            "a `Sum` gathers rows in a State; a row has the type that it is a sum of",
        ),
        "Option" => check_option(ty, segment, role),
        "Decimal" => check_decimal(ty, segment),
        "DateTime" | "NaiveDateTime" | "OffsetDateTime" | "SystemTime" | "Instant" => {
            refuse(ty, "a column of times is `Timestamp`, µs since 1970 in UTC")
        }
        "NaiveDate" => refuse(ty, "a column of days is `Date`"),
        "HashMap" | "BTreeMap" | "HashSet" | "BTreeSet" => refuse(
            ty,
            "a field is one value of one column: encode what has many into bytes, `Vec<u8>`",
        ),
        _ => Ok(()),
    }
}

fn text(role: Role) -> &'static str {
    match role {
        Role::Input => {
            "text is borrowed from the batch: give the struct a lifetime and use `&'a str`"
        }
        Role::Output => "a column of text is `String` or `&'static str`",
        Role::State => "a column of text is `String`",
    }
}

fn check_bytes(ty: &Type, segment: &PathSegment) -> Result<()> {
    match argument(segment) {
        Some(GenericArgument::Type(Type::Path(of))) if !of.path.is_ident("u8") => refuse(
            ty,
            "a field is one value of one column: encode what has many into bytes, `Vec<u8>`",
        ),
        _ => Ok(()),
    }
}

fn check_option(ty: &Type, segment: &PathSegment, role: Role) -> Result<()> {
    let Some(GenericArgument::Type(inner)) = argument(segment) else {
        return Ok(());
    };
    if let Type::Path(path) = inner
        && path
            .path
            .segments
            .last()
            .is_some_and(|inner| inner.ident == "Option")
    {
        return refuse(ty, "a value is there or missing: one `Option` is enough");
    }
    check(inner, role)
}

fn check_decimal(ty: &Type, segment: &PathSegment) -> Result<()> {
    let Some(argument) = argument(segment) else {
        return refuse(
            ty,
            "a decimal has a scale: `Decimal<2>`, or `AnyDecimal` for that of the column",
        );
    };
    if let GenericArgument::Const(Expr::Lit(ExprLit {
        lit: Lit::Int(scale),
        ..
    })) = argument
        && !scale.base10_parse::<u8>().is_ok_and(|scale| scale <= 18)
    {
        return refuse(scale, "the scale of a decimal is 0 to 18");
    }
    Ok(())
}

fn argument(segment: &PathSegment) -> Option<&GenericArgument> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.first(),
        _ => None,
    }
}
