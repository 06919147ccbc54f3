//! Where in the expression something is, in words.

/// Says what is wrong at the byte `offset` of `text`.
pub(crate) fn complain(text: &str, offset: usize, what: impl AsRef<str>) -> String {
    let before = &text[..offset];
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let what = what.as_ref();
    if text.trim_end().contains('\n') {
        let line = before.matches('\n').count() + 1;
        format!("`where`, line {line}, character {column}: {what}")
    } else {
        format!("`where`, character {column}: {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_character_and_with_several_lines_a_line() {
        assert_eq!(complain("é = x", 5, "no"), "`where`, character 5: no");
        assert_eq!(
            complain("a\nand é = x\n", 11, "no"),
            "`where`, line 2, character 9: no"
        );
    }
}
