//! `[[sink]]` and what belongs to it.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, Span};

/// `[[sink]]`
#[derive(Debug, Clone)]
pub struct Sink {
    /// unique among sinks
    pub name: String,
    /// `sink.type` with what belongs to it
    pub kind: SinkKind,
    /// where it stands in the file
    pub span: Span,
}

/// `sink.type` with what belongs to it.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// `type = "postgres"`
    Postgres {
        /// a `postgres://` URL; secret
        url: Secret,
        /// an epoch that is not written after so long is given up with its connection, and tried again
        timeout: Duration,
        /// what happens to a table that lacks a column
        on_new_column: OnNewColumn,
        /// the tables it fills
        tables: Vec<Table>,
    },
    /// `type = "sqlite"`
    Sqlite {
        /// the file, created when it is missing
        path: PathBuf,
        /// what happens to a table that lacks a column
        on_new_column: OnNewColumn,
        /// the tables it fills
        tables: Vec<Table>,
    },
    /// `type = "elasticsearch"`
    Elasticsearch {
        /// an `http://` URL; secret, it may have a password
        url: Secret,
        /// a request without an answer for so long is given up, and sent again
        timeout: Duration,
        /// the indices it fills
        indices: Vec<Index>,
        /// what the stream does while it does not answer
        on_unavailable: OnUnavailable,
    },
}

/// `sink.on_new_column`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnNewColumn {
    /// the table gets it, null in the rows that are there
    #[default]
    Add,
    /// the table does not fit
    Refuse,
}

/// `sink.on_unavailable`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnavailable {
    /// it waits, and the source with it
    #[default]
    Wait,
    /// it goes on without the sink, which is brought up to it later, from the records
    Continue,
}

impl SinkKind {
    /// `timeout` where a sink of type `postgres` does not say it.
    pub const POSTGRES_TIMEOUT: Duration = Duration::from_mins(2);
    /// `timeout` where a sink of type `elasticsearch` does not say it.
    pub const ELASTICSEARCH_TIMEOUT: Duration = Duration::from_secs(30);

    /// Whether the stream goes on while it does not answer.
    #[must_use]
    pub fn may_lag(&self) -> bool {
        matches!(
            self,
            Self::Elasticsearch {
                on_unavailable: OnUnavailable::Continue,
                ..
            }
        )
    }

    /// What happens to a table of it that lacks a column.
    #[must_use]
    pub fn on_new_column(&self) -> OnNewColumn {
        match self {
            Self::Postgres { on_new_column, .. } | Self::Sqlite { on_new_column, .. } => {
                *on_new_column
            }
            Self::Elasticsearch { .. } => OnNewColumn::Add,
        }
    }

    /// Whether it keeps the journal.
    #[must_use]
    pub fn is_ledger(&self) -> bool {
        match self {
            Self::Postgres { .. } | Self::Sqlite { .. } => true,
            Self::Elasticsearch { .. } => false,
        }
    }

    /// The tables that it fills, where it is one that has tables.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        match self {
            Self::Postgres { tables, .. } | Self::Sqlite { tables, .. } => tables,
            Self::Elasticsearch { .. } => &[],
        }
    }
}

/// One of `sink.tables`.
#[derive(Debug, Clone)]
pub struct Table {
    /// the stream that it is filled from
    pub from: String,
    /// its name, perhaps with a schema (`public.sales`)
    pub table: String,
    /// names of its key columns (of the table), at least one
    pub key: Vec<String>,
    /// its columns in order; `None`: those of the stream, by their own names
    pub columns: Option<Vec<TableColumn>>,
    /// what happens to a row whose key is already there
    pub on_conflict: OnConflict,
    /// where it stands in the file
    pub span: Span,
}

/// One of `columns` of a table or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// its name in the sink
    pub name: String,
    /// its value
    pub value: Projection,
}

/// The value of a sink column, from a column of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// the column as it is
    Column(String),
    /// `date(c)`: the day of a timestamp, as a date
    Date(String),
    /// `year(c)`: of a timestamp or date, as int64
    Year(String),
    /// `month(c)`: 1 to 12, of a timestamp or date, as int64
    Month(String),
}

/// `on_conflict` of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// the new row replaces the old one
    Update,
    /// the old row stays
    Ignore,
}

/// One of `sink.indices`.
#[derive(Debug, Clone)]
pub struct Index {
    /// the stream that it is filled from
    pub from: String,
    /// its name
    pub index: String,
    /// the column whose value is the document's `_id`; not nullable
    pub id: String,
    /// its fields in order; `None`: those of the stream, by their own names
    pub columns: Option<Vec<TableColumn>>,
    /// where it stands in the file
    pub span: Span,
}
