//! An index that rows go into: which stream, which fields, which `_id`.

use crate::config;
use crate::schema::{DataType, Schema};
use crate::sink::SinkError;
use crate::sink::projection::Projector;

/// Elasticsearch's own bound on an index name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// One index of an Elasticsearch sink.
#[derive(Debug, Clone)]
pub struct IndexTarget {
    pub(super) from: String,
    pub(super) index: String,
    pub(super) projector: Projector,
    /// which field is the `_id`
    pub(super) id: usize,
}

impl IndexTarget {
    /// The target that `index` of `pipeline.toml` describes, filled from a stream of this schema.
    ///
    /// # Errors
    ///
    /// [`SinkError::Permanent`] when a column is missing, the id is nullable or neither utf8 nor
    /// int64, or Elasticsearch has no index or field of that name.
    pub fn new(index: &config::Index, stream: &Schema) -> Result<Self, SinkError> {
        let name = &index.index;
        let invalid = |reason: String| {
            SinkError::Permanent(format!("index `{name}` is not usable: {reason}"))
        };
        if let Some(reason) = name_fault(name) {
            return Err(invalid(format!("an index name {reason}")));
        }
        let projector = Projector::new(stream, index.columns.as_deref())
            .map_err(|error| invalid(error.to_string()))?;
        let fields = projector.schema().fields();
        if let Some(field) = fields.iter().find(|field| field.name.contains('.')) {
            return Err(invalid(format!(
                "Elasticsearch takes the point in field `{}` for an object: rename it in `columns`",
                field.name
            )));
        }
        let id = projector.schema().index_of(&index.id).ok_or_else(|| {
            let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            invalid(format!(
                "its id `{}` is none of its fields, which are {}",
                index.id,
                known.join(", ")
            ))
        })?;
        let field = &fields[id];
        if !matches!(field.ty, DataType::Utf8 | DataType::Int64) {
            return Err(invalid(format!(
                "its id `{}` is {}, and has to be utf8 or int64",
                field.name, field.ty
            )));
        }
        if field.nullable {
            return Err(invalid(format!("its id `{}` is nullable", field.name)));
        }
        Ok(Self {
            from: index.from.clone(),
            index: index.index.clone(),
            projector,
            id,
        })
    }

    /// The fields of its documents.
    pub(super) fn schema(&self) -> &Schema {
        self.projector.schema()
    }
}

/// What is wrong with an index name, by Elasticsearch's rules.
fn name_fault(name: &str) -> Option<&'static str> {
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
        let field = |name: &str, ty, nullable| Field {
            name: name.into(),
            ty,
            nullable,
        };
        Schema::new(vec![
            field("id", DataType::Utf8, false),
            field("number", DataType::Int64, false),
            field("maybe", DataType::Utf8, true),
            field("amount", DataType::Decimal(2), false),
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
            "index `sales` is not usable: its id `maybe` is nullable"
        );
        assert_eq!(
            refusal("sales", "amount", None),
            "index `sales` is not usable: its id `amount` is decimal(2), and has to be utf8 or int64"
        );
        assert_eq!(
            refusal("sales", "ident", None),
            "index `sales` is not usable: its id `ident` is none of its fields, which are id, number, maybe, amount"
        );
    }

    #[test]
    fn the_id_is_a_field_of_the_index_not_of_the_stream() {
        let columns = vec![TableColumn {
            name: "key".into(),
            value: Projection::Column("id".into()),
        }];
        assert!(IndexTarget::new(&index("sales", "key", Some(columns.clone())), &stream()).is_ok());
        assert!(refusal("sales", "id", Some(columns)).contains("none of its fields"));
    }

    #[test]
    fn names_that_elasticsearch_has_no_index_for_are_refused() {
        for name in [
            "", "Sales", "_sales", ".", "a b", "a/b", "sales*", "a:b", "a,b",
        ] {
            assert!(
                refusal(name, "id", None).contains("an index name"),
                "{name}"
            );
        }
        assert!(refusal(&"x".repeat(256), "id", None).contains("an index name"));
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
