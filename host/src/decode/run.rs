//! Fields as producers mostly write them: in one order, each once, without escapes and with short numbers.
//!
//! # Invariants
//!
//! A run ends where anything else stands, before a name, and has then done what
//! [`read_object`](Row::read_object) would have done up to there: that goes on, and finds out what it is.

use super::cursor::Cursor;
use super::fields::{Fields, Row};

impl Row<'_> {
    /// Reads the fields of an object from the name on that stands here, for as long as they come in the
    /// order that is `expected`. Whether the object ended.
    #[inline]
    pub(super) fn read_run(
        &mut self,
        fields: &Fields,
        expected: &mut usize,
        cursor: &mut Cursor<'_>,
    ) -> bool {
        // A field may have been met before, with a fault that is to be forgotten.
        if !self.faults.is_empty() {
            return false;
        }
        let (text, mut at, end) = cursor.open();
        let mut is_over = false;
        for wanted in fields.0.get(*expected..).unwrap_or_default() {
            let (Some(pattern), Some(column)) = (&wanted.pattern, wanted.only) else {
                break;
            };
            let column = &mut self.columns[column];
            if column.len() != self.index {
                break;
            }
            let name = at + usize::from(text.get(at) == Some(&b' '));
            let Some(behind) = pattern.behind(text, name) else {
                break;
            };
            let value = behind + usize::from(text.get(behind) == Some(&b' '));
            // A value needs something behind it, so one that ends with the text is not read here.
            let Some(behind) = column.read_common(text, value, end) else {
                break;
            };
            match text[behind] {
                b',' => {
                    *expected += 1;
                    at = behind + 1;
                }
                b'}' => {
                    at = behind + 1;
                    is_over = true;
                    break;
                }
                _ => {
                    column.truncate(self.index);
                    break;
                }
            }
        }
        cursor.go_on_at(at);
        is_over
    }
}
