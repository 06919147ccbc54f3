//! `${NAME}` and `${NAME:-default}` in strings.
//!
//! Expansion happens after the TOML is parsed, so a value can never change what the file means.

use super::Environment;

/// A string with its variables replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expanded {
    /// the result
    pub(super) value: String,
    /// whether some of it came from the environment, so that it must not be shown
    pub(super) from_environment: bool,
    /// whether there was anything to replace
    pub(super) had_variables: bool,
}

/// Why a string cannot be expanded. `at`: bytes in the string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpandError {
    /// a variable without default is not set
    Unset {
        /// the variable
        name: String,
    },
    /// `${` without its `}`
    Unclosed,
    /// what stands in the braces is no name of a variable
    Name,
}

/// Replaces `${NAME}` by what `environment` says, and `${NAME:-default}` by the default where the
/// variable is unset or empty, as shells do. `$${` stands for `${` itself. A default ends at the
/// first `}` and is taken as it is.
///
/// # Errors
///
/// [`ExpandError`], for the first variable that has none.
pub(super) fn expand(text: &str, environment: &Environment<'_>) -> Result<Expanded, ExpandError> {
    let mut value = String::with_capacity(text.len());
    let mut from_environment = false;
    let mut had_variables = false;
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = rest.split_at(dollar);
        let after = &after["${".len()..];
        if let Some(literal) = before.strip_suffix('$') {
            value.push_str(literal);
            value.push_str("${");
            rest = after;
            continue;
        }
        value.push_str(before);
        had_variables = true;
        let (inside, behind) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable(name) {
            return Err(ExpandError::Name);
        }
        match (environment(name), default) {
            (Some(found), default) if !found.is_empty() || default.is_none() => {
                from_environment = true;
                value.push_str(&found);
            }
            (_, Some(default)) => value.push_str(default),
            (_, None) => {
                let name = name.to_owned();
                return Err(ExpandError::Unset { name });
            }
        }
        rest = behind;
    }
    value.push_str(rest);
    Ok(Expanded {
        value,
        from_environment,
        had_variables,
    })
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<String, ExpandError> {
        expand(text, &environment).map(|expanded| expanded.value)
    }

    #[test]
    fn variables_are_replaced_in_place() {
        assert_eq!(expanded("a ${HOST} b ${HOST}"), Ok("a db b db".to_owned()));
        assert_eq!(expanded("plain $5 {x} $"), Ok("plain $5 {x} $".to_owned()));
    }

    #[test]
    fn a_default_stands_in_for_what_is_unset_or_empty() {
        assert_eq!(expanded("${NO:-x://y:1}"), Ok("x://y:1".to_owned()));
        assert_eq!(expanded("${EMPTY:-x}"), Ok("x".to_owned()));
        assert_eq!(expanded("${HOST:-x}"), Ok("db".to_owned()));
        assert_eq!(expanded("<${NO:-}${EMPTY}>"), Ok("<>".to_owned()));
    }

    #[test]
    fn two_dollars_escape() {
        assert_eq!(expanded("$${HOST} ${HOST}"), Ok("${HOST} db".to_owned()));
        assert_eq!(expanded("$$${HOST}"), Ok("$${HOST}".to_owned()));
    }

    #[test]
    fn what_cannot_be_expanded_is_an_error() {
        let unset = ExpandError::Unset {
            name: "NO".to_owned(),
        };
        assert_eq!(expanded("${NO}"), Err(unset));
        assert_eq!(expanded("${HOST"), Err(ExpandError::Unclosed));
        assert_eq!(expanded("${}"), Err(ExpandError::Name));
        assert_eq!(expanded("${1A}"), Err(ExpandError::Name));
        assert_eq!(expanded("${HOST-x}"), Err(ExpandError::Name));
    }

    #[test]
    fn only_what_the_environment_gave_is_hidden() {
        let from_environment = |text| expand(text, &environment).unwrap().from_environment;
        assert!(from_environment("${HOST}"));
        assert!(!from_environment("${NO:-x}"));
        assert!(!from_environment("$${HOST}"));
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_or_refused(text in "\\PC*|([$]|[{]|[}]|[$][{]|:-|HOST|NO){0,20}") {
            let _ = expanded(&text);
        }

        #[test]
        fn text_without_braces_stays(text in "[^{]*") {
            prop_assert_eq!(expanded(&text), Ok(text));
        }
    }
}
