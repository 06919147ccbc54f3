//! "Did you mean": the known name that was most likely meant, and how a message lists names.

/// The one of `known` that is closest to `name`, if it is close enough to be a slip of the fingers:
/// the same but for case and hyphens, or at most a third of its letters away.
pub(super) fn closest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = normal(name);
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&name, &normal(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let longest = name.chars().count().max(candidate.chars().count());
            *distance <= (longest / 3).max(1) && *distance < longest
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The question whether the closest one was meant, for a [`label`](super::Diagnostic::label).
pub(crate) fn did_you_mean<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<String> {
    closest(name, known).map(|meant| format!("did you mean `{meant}`?"))
}

/// Names as a message lists them.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Letters in lower case, without what separates words.
fn normal(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_understood() {
        let known = ["brokers", "topic", "max_rows"];
        assert_eq!(closest("broker", known), Some("brokers"));
        assert_eq!(closest("tpoic", known), Some("topic"));
        assert_eq!(closest("maxRows", known), Some("max_rows"));
        assert_eq!(closest("max-rows", known), Some("max_rows"));
    }

    #[test]
    fn something_else_is_not_guessed() {
        assert_eq!(closest("lateness", ["brokers", "topic"]), None);
        assert_eq!(closest("x", ["y"]), None);
        assert_eq!(closest("", ["y"]), None);
    }
}
