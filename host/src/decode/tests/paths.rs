//! Which field of a record a column gets.

use super::*;

#[test]
fn of_a_field_that_occurs_twice_the_last_one_counts() {
    let columns = [
        column("a", "a", "int64"),
        column("b", "o.b", "utf8?"),
        column("c", "o.c", "utf8?"),
    ];
    for (record, expected) in [
        (r#"{"a":1,"a":2}"#, ["2", "-", "-"]),
        (r#"{"a":"x","a":2}"#, ["2", "-", "-"]),
        (
            r#"{"a":null,"a":2,"o":{"b":"x","b":"yy"}}"#,
            ["2", "yy", "-"],
        ),
        (r#"{"a":1,"o":{"b":"x"},"o":{"c":"y"}}"#, ["1", "-", "y"]),
        (r#"{"a":1,"o":5,"o":{"c":"y"}}"#, ["1", "-", "y"]),
        (r#"{"a":1,"o":{"b":"x"},"o":null}"#, ["1", "-", "-"]),
    ] {
        let (rows, rejected) = decode(&columns, &[record.as_bytes()]);
        assert_eq!(rejected, [], "{record}");
        assert_eq!(shown(&rows.columns, 0), expected, "{record}");
    }
    let (_, rejected) = decode(&columns, &[br#"{"a":1,"a":"x"}"#]);
    assert_eq!(rejected[0].reason, "expected an integer, found a string");
}

#[test]
fn nested_fields_are_found_and_what_stands_in_their_place_is_named() {
    let columns = [
        column("x", "a.b.c", "int64"),
        column("y", "a.d", "utf8?"),
        column("z", "e", "boolean?"),
    ];
    let good = br#"{"a":{"q":[{"b":1}],"d":"t","b":{"c":7,"c2":8},"e":"no"},"e":true,"b":{"c":1}}"#;
    let (rows, rejected) = decode(&columns, &[good]);
    assert_eq!(rejected, []);
    assert_eq!(shown(&rows.columns, 0), ["7", "t", "true"]);
    for (record, column, reason) in [
        (
            r#"{"a":{"b":5}}"#,
            "x",
            "expected `b` to be an object, found a number",
        ),
        (
            r#"{"a":"b"}"#,
            "x",
            "expected `a` to be an object, found a string",
        ),
        (
            r#"{"a":{"b":{"c":7}, "d":1}}"#,
            "y",
            "expected a string, found a number",
        ),
        (r#"{"a":null}"#, "x", "a required value is missing"),
        (r#"{"a":{"b":null}}"#, "x", "a required value is missing"),
        (r#"{"a":{"b":{}}}"#, "x", "a required value is missing"),
    ] {
        let (_, rejected) = decode(&columns, &[record.as_bytes()]);
        assert_eq!(rejected[0].column.as_deref(), Some(column), "{record}");
        assert_eq!(rejected[0].reason, reason, "{record}");
    }
}

#[test]
fn two_columns_may_share_a_field() {
    let columns = [
        column("text", "a", "utf8?"),
        column("amount", "a", "decimal(1)"),
        column("in", "a.b", "utf8?"),
    ];
    let (rows, rejected) = decode(&columns[..2], &[br#"{"a":"1\u002e25"}"#, br#"{"a":1.25}"#]);
    assert_eq!(shown(&rows.columns, 0), ["1.25", "1.2"]);
    assert_eq!(rejected[0].column.as_deref(), Some("text"));
    let (_, rejected) = decode(&columns, &[br#"{"a":{"b":"x"}}"#]);
    assert_eq!(rejected[0].reason, "expected a string, found an object");
}

#[test]
fn names_of_fields_may_be_written_with_escapes() {
    let columns = [column("a", "größe", "int64"), column("b", "b\"b", "int64")];
    let (rows, _) = decode(
        &columns,
        &["{\"gr\\u00f6\\u00dfe\":1,\"b\\\"b\":2,\"größe \":3}".as_bytes()],
    );
    assert_eq!(shown(&rows.columns, 0), ["1", "2"]);
}
