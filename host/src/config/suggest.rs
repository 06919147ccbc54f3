//! "Did you mean": the known name that was most likely meant.

/// The one of `known` that is closest to `name`, if it is close enough to be a slip of the fingers:
/// the same but for case and hyphens, or at most a third of its letters away.
pub(super) fn did_you_mean<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
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
        assert_eq!(did_you_mean("broker", known), Some("brokers"));
        assert_eq!(did_you_mean("tpoic", known), Some("topic"));
        assert_eq!(did_you_mean("maxRows", known), Some("max_rows"));
        assert_eq!(did_you_mean("max-rows", known), Some("max_rows"));
    }

    #[test]
    fn something_else_is_not_guessed() {
        assert_eq!(did_you_mean("lateness", ["brokers", "topic"]), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
        assert_eq!(did_you_mean("", ["y"]), None);
    }
}
