//! A JSON object's fields, straight into columns: one pass over the text, nothing in between.
//!
//! # Invariants
//!
//! A value that a column cannot take is noted as a [`Fault`] and reading goes on: whether the text
//! is JSON at all is always found out, and a field that occurs again replaces the first one, as it
//! does in `serde_json`.

use super::column::Column;
use super::cursor::{Cursor, Expected, JsonError, RawString};
use super::scan::Pattern;

/// A value that its column cannot take.
#[derive(Debug)]
pub(super) struct Fault {
    /// index of the column
    pub(super) column: usize,
    /// what is wrong, for a person
    pub(super) reason: String,
}

/// The columns of the record that is being read.
pub(super) struct Row<'a> {
    /// all columns; those of JSON fields have `index` or `index + 1` values
    pub(super) columns: &'a mut [Column],
    /// what was found wrong with the record so far
    pub(super) faults: &'a mut Vec<Fault>,
    /// room for a text without its escapes
    pub(super) scratch: &'a mut Vec<u8>,
    /// how many rows are complete
    pub(super) index: usize,
}

/// Which fields of an object are wanted, in the order of the columns.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<Wanted>);

/// A field that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    name: String,
    /// the name with quotes and colon, as it mostly stands in a text; empty where it takes escapes
    written: String,
    /// the same, if it is short
    pub(super) pattern: Option<Pattern>,
    /// the column that takes its value, where nothing else does
    pub(super) only: Option<usize>,
    /// columns that take its value
    columns: Vec<usize>,
    /// fields of the object that it is
    inside: Fields,
    /// `columns`, and all columns of `inside`
    all: Vec<usize>,
}

impl Fields {
    /// Adds the field of this path for a column.
    pub(super) fn want(&mut self, path: &[String], column: usize) {
        let Some((name, rest)) = path.split_first() else {
            return;
        };
        let at = self.0.iter().position(|wanted| wanted.name == *name);
        let at = at.unwrap_or_else(|| {
            self.0.push(Wanted::new(name));
            self.0.len() - 1
        });
        let wanted = &mut self.0[at];
        wanted.all.push(column);
        if rest.is_empty() {
            wanted.columns.push(column);
        } else {
            wanted.inside.want(rest, column);
        }
        wanted.only = match wanted.columns[..] {
            [column] if wanted.inside.0.is_empty() => Some(column),
            _ => None,
        };
    }

    /// Where the field stands whose name begins here, and steps over name and colon. Producers write
    /// fields in one order, and columns are mostly declared in it too: so it is first looked for
    /// where it is `expected`.
    #[inline]
    fn find(
        &self,
        cursor: &mut Cursor<'_>,
        expected: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<usize>, JsonError> {
        if cursor.peek() != b'"' {
            return Err(cursor.error(Expected::Name));
        }
        match self.0.get(expected) {
            Some(next) if !next.written.is_empty() && cursor.eat(next.written.as_bytes()) => {
                Ok(Some(expected))
            }
            _ => self.search(cursor, scratch),
        }
    }

    fn search(
        &self,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<usize>, JsonError> {
        let name = cursor.string()?;
        cursor.colon()?;
        // Half of a surrogate pair is in no name that is wanted.
        let name = plain(name, scratch).ok();
        Ok(name.and_then(|name| {
            self.0
                .iter()
                .position(|wanted| wanted.name.as_bytes() == name)
        }))
    }
}

impl Wanted {
    fn new(name: &str) -> Self {
        let plain = !name.contains(|c: char| c == '"' || c == '\\' || c < ' ');
        let written = if plain {
            format!("\"{name}\":")
        } else {
            String::new()
        };
        Self {
            name: name.to_owned(),
            pattern: Pattern::new(written.as_bytes()).filter(|_| plain),
            written,
            only: None,
            columns: Vec::new(),
            inside: Fields::default(),
            all: Vec::new(),
        }
    }
}

impl Row<'_> {
    /// Reads the object whose brace stands here, `depth` levels down. Columns of fields that are not there
    /// stay as they are.
    ///
    /// # Errors
    ///
    /// When it is not JSON. Columns then hold what was read before.
    pub(super) fn read_object(
        &mut self,
        fields: &Fields,
        cursor: &mut Cursor<'_>,
        depth: u32,
    ) -> Result<(), JsonError> {
        cursor.step();
        if cursor.peek() == b'}' {
            cursor.step();
            return Ok(());
        }
        let mut expected = 0;
        loop {
            if self.read_run(fields, &mut expected, cursor) {
                return Ok(());
            }
            let found = fields.find(cursor, expected, self.scratch)?;
            match found {
                Some(at) => {
                    expected = at + 1;
                    let wanted = &fields.0[at];
                    if let Some(column) = wanted.only {
                        self.forget(column);
                        self.read_value(column, cursor, depth + 1)?;
                    } else {
                        self.read_field(wanted, cursor, depth + 1)?;
                    }
                }
                None => cursor.skip_value(depth + 1)?,
            }
            match cursor.peek() {
                b',' => cursor.step(),
                b'}' => {
                    cursor.step();
                    return Ok(());
                }
                _ => return Err(cursor.error(Expected::CommaOrBrace)),
            }
        }
    }

    /// Reads the value of a field that several columns want, or fields inside of it.
    fn read_field(
        &mut self,
        wanted: &Wanted,
        cursor: &mut Cursor<'_>,
        depth: u32,
    ) -> Result<(), JsonError> {
        for &column in &wanted.all {
            self.forget(column);
        }
        let start = *cursor;
        for &column in &wanted.columns {
            *cursor = start;
            self.read_value(column, cursor, depth)?;
        }
        if wanted.inside.0.is_empty() {
            return Ok(());
        }
        *cursor = start;
        let found = kind(cursor.peek());
        match cursor.peek() {
            b'{' => return self.read_object(&wanted.inside, cursor, depth),
            // Then nothing of what is wanted is there, which is found out at the end of the record.
            b'n' => {}
            _ => {
                for &column in wanted.all.iter().filter(|at| !wanted.columns.contains(at)) {
                    let name = &wanted.name;
                    let reason = format!("expected `{name}` to be an object, found {found}");
                    self.faults.push(Fault { column, reason });
                }
            }
        }
        cursor.skip_value(depth)
    }

    /// Takes back the column's value of this record, if its field was met before.
    #[inline]
    fn forget(&mut self, column: usize) {
        if self.columns[column].len() > self.index || !self.faults.is_empty() {
            self.forget_what_is_there(column);
        }
    }

    #[cold]
    fn forget_what_is_there(&mut self, column: usize) {
        self.columns[column].truncate(self.index);
        self.faults.retain(|fault| fault.column != column);
    }

    /// Reads the value that begins here into one column.
    #[inline]
    fn read_value(
        &mut self,
        at: usize,
        cursor: &mut Cursor<'_>,
        depth: u32,
    ) -> Result<(), JsonError> {
        let column = &mut self.columns[at];
        let result = match cursor.peek() {
            b'"' => match plain(cursor.string()?, self.scratch) {
                Ok(text) => column.push_text(text),
                Err(reason) => Err(reason.to_owned()),
            },
            b'-' | b'0'..=b'9' => column.push_number(&cursor.number()?),
            first @ (b'{' | b'[') => {
                cursor.skip_value(depth)?;
                Err(column.wrong_type(kind(first)))
            }
            _ => match cursor.word()? {
                Some(value) => column.push_boolean(value),
                None => column.push_null("null"),
            },
        };
        if let Err(reason) = result {
            self.faults.push(Fault { column: at, reason });
        }
        Ok(())
    }
}

/// The text that a string stands for.
#[inline]
fn plain<'s>(string: RawString<'s>, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], &'static str> {
    if !string.escaped {
        return Ok(string.text);
    }
    scratch.clear();
    string.unescape(scratch)?;
    Ok(scratch)
}

/// What a JSON value is, by its first byte.
pub(super) fn kind(first: u8) -> &'static str {
    match first {
        b'{' => "an object",
        b'[' => "an array",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    }
}
