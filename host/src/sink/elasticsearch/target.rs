//! An index that rows go into: which stream, which fields, which `_id`.

use thiserror::Error;

use crate::config;
use crate::schema::{DataType, Schema};
use crate::sink::projection::{ProjectionError, Projector};

/// Elasticsearch's own bound on an index name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Why a stream cannot fill an index.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// Elasticsearch takes no index of this name.
    #[error("`{name}` cannot be an index: its name {rule}")]
    Name {
        /// the name
        name: String,
        /// Elasticsearch's rule
        rule: &'static str,
    },
    /// A field cannot be computed from the stream.
    #[error("index `{index}`: {source}")]
    Projection {
        /// the index
        index: String,
        /// why
        source: ProjectionError,
    },
    /// Elasticsearch makes an object of a field of this name.
    #[error("Elasticsearch takes the point in field `{0}` for an object: rename it in `columns`")]
    FieldName(String),
    /// The id is no field.
    #[error("index `{index}` has no field `{field}` to be its id")]
    IdMissing {
        /// the index
        index: String,
        /// the name in `id`
        field: String,
        /// every field of the index, in order
        known: Vec<String>,
    },
    /// The id cannot be written as a text that tells rows apart.
    #[error("the id of index `{index}` has to be utf8 or int64, but `{field}` is {ty}")]
    IdType {
        /// the index
        index: String,
        /// the field
        field: String,
        /// its type
        ty: DataType,
    },
    /// The id may be missing.
    #[error(
        "the id of index `{index}`, `{field}`, may be null: take another one, or a column without `nullable`"
    )]
    IdNullable {
        /// the index
        index: String,
        /// the field
        field: String,
    },
}

/// One index of an Elasticsearch sink.
#[derive(Debug, Clone)]
pub struct IndexTarget {
    pub(crate) from: String,
    pub(super) index: String,
    pub(super) projector: Projector,
    /// which field is the `_id`
    pub(super) id: usize,
}

impl IndexTarget {
    /// The target that `config` describes, filled from a stream of this schema.
    ///
    /// # Errors
    ///
    /// [`IndexError`] when the stream cannot fill it, or the id is none.
    pub fn new(config: &config::Index, stream: &Schema) -> Result<Self, IndexError> {
        let index = || config.index.clone();
        if let Some(rule) = broken_rule(&config.index) {
            let name = index();
            return Err(IndexError::Name { name, rule });
        }
        let projector = Projector::new(stream, config.columns.as_deref()).map_err(|source| {
            IndexError::Projection {
                index: index(),
                source,
            }
        })?;
        let fields = projector.schema().fields();
        if let Some(field) = fields.iter().find(|field| field.name.contains('.')) {
            return Err(IndexError::FieldName(field.name.clone()));
        }
        let Some(id) = projector.schema().index_of(&config.id) else {
            return Err(IndexError::IdMissing {
                index: index(),
                field: config.id.clone(),
                known: fields.iter().map(|field| field.name.clone()).collect(),
            });
        };
        let (field, ty) = (fields[id].name.clone(), fields[id].ty);
        if !matches!(ty, DataType::Utf8 | DataType::Int64) {
            let index = index();
            return Err(IndexError::IdType { index, field, ty });
        }
        if fields[id].nullable {
            let index = index();
            return Err(IndexError::IdNullable { index, field });
        }
        Ok(Self {
            from: config.from.clone(),
            index: index(),
            projector,
            id,
        })
    }

    /// For a person: that it gets this field.
    pub(super) fn addition(&self, field: &str) -> String {
        format!("index `{}` gets field `{field}`", self.index)
    }

    /// For a person: that this field was taken from it.
    pub(super) fn lacks(&self, field: &str) -> String {
        format!("index `{}` has no field `{field}`", self.index)
    }

    /// The fields of its documents.
    pub(super) fn schema(&self) -> &Schema {
        self.projector.schema()
    }
}

/// The rule of Elasticsearch's that an index name breaks: what a name does.
fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        Some("has 1 to 255 bytes")
    } else if name.starts_with(['-', '_', '+', '.']) {
        Some("begins with none of - _ + .")
    } else if name.contains(|c: char| c.is_uppercase()) {
        Some("has no capital letters")
    } else if name.contains(|c: char| r#"\/*?"<>| ,#:"#.contains(c) || c.is_control()) {
        Some("has no blanks and none of \\ / * ? \" < > | , # :")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Projection, TableColumn};
    use crate::schema::Field;

    fn stream() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("number", DataType::Int64, false),
            Field::new("maybe", DataType::Utf8, true),
            Field::new("amount", DataType::Decimal(2), false),
        ])
        .unwrap()
    }

    fn index(name: &str, id: &str, columns: Option<Vec<TableColumn>>) -> config::Index {
        config::Index {
            from: "sales".into(),
            index: name.into(),
            id: id.into(),
            columns,
            span: 0..0,
        }
    }

    fn refusal(name: &str, id: &str, columns: Option<Vec<TableColumn>>) -> String {
        IndexTarget::new(&index(name, id, columns), &stream())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn texts_and_whole_numbers_can_be_the_id() {
        assert_eq!(
            IndexTarget::new(&index("sales", "number", None), &stream())
                .unwrap()
                .id,
            1
        );
        assert!(IndexTarget::new(&index("sales", "id", None), &stream()).is_ok());
    }

    #[test]
    fn an_id_that_cannot_be_one_is_refused() {
        assert_eq!(
            refusal("sales", "maybe", None),
            "the id of index `sales`, `maybe`, may be null: take another one, or a column without `nullable`"
        );
        assert_eq!(
            refusal("sales", "amount", None),
            "the id of index `sales` has to be utf8 or int64, but `amount` is decimal(2)"
        );
        assert_eq!(
            refusal("sales", "ident", None),
            "index `sales` has no field `ident` to be its id"
        );
    }

    #[test]
    fn the_id_is_a_field_of_the_index_not_of_the_stream() {
        let columns = vec![TableColumn {
            name: "key".into(),
            value: Projection::Column("id".into()),
        }];
        assert!(IndexTarget::new(&index("sales", "key", Some(columns.clone())), &stream()).is_ok());
        assert!(refusal("sales", "id", Some(columns)).contains("has no field `id`"));
    }

    #[test]
    fn names_that_elasticsearch_has_no_index_for_are_refused() {
        for name in [
            "", "Sales", "_sales", ".", "a b", "a/b", "sales*", "a:b", "a,b",
        ] {
            assert!(
                refusal(name, "id", None).contains("cannot be an index"),
                "{name}"
            );
        }
        assert!(refusal(&"x".repeat(256), "id", None).contains("cannot be an index"));
    }

    #[test]
    fn a_field_name_with_a_point_is_refused() {
        let columns = vec![TableColumn {
            name: "a.b".into(),
            value: Projection::Column("id".into()),
        }];
        assert!(refusal("sales", "a.b", Some(columns)).contains("rename it"));
    }
}
