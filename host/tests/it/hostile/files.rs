//! Files that are refused before the first record, by name and in bounded time, and descriptions
//! that are bombs for whoever reads them.

use serde_json::{Value, json};

use super::job::{Job, Role};
use super::raw::{Built, HONEST, Raw, built};
use crate::support::binary::{output, stderr, stdout};

const SOCKETS: (&str, &str) = (
    "wasi:sockets/tcp@0.2.0",
    "package wasi:sockets@0.2.0; interface tcp { reach: func(); }",
);

const VAULT: (&str, &str) = (
    "acme:secrets/vault@1.0.0",
    "package acme:secrets@1.0.0; interface vault { open: func(); }",
);

/// A contract that returns so many columns, which have no names.
const MANY_COLUMNS: &str = "(i32.store (i32.const 528) (i32.const 5000))
    (i32.store (i32.const 524) (i32.const 131072)) (i32.const 512)";
/// A column whose name has as many bytes as its memory.
const LONG_NAME: &str = "(i32.store (i32.const 608) (i32.const 16384))
    (i32.store (i32.const 612) (i32.const 100000)) (i32.const 512)";

#[rustfmt::skip]
fn refused() -> Vec<(&'static str, Raw, &'static str)> {
    vec![
        ("a file that loops when it is instantiated is refused",
            Raw { fields: "(func $begin (loop $ever (br $ever))) (start $begin)", ..HONEST },
            "used up its time"),
        ("a file that traps when it is instantiated is refused",
            Raw { fields: "(func $begin unreachable) (start $begin)", ..HONEST },
            "unreachable"),
        ("a file that begins with 4 GiB of memory is refused",
            Raw { memory: "65535", ..HONEST },
            "67108864 bytes of memory"),
        ("a file that begins with 80 MB of table is refused",
            Raw { fields: "(table 10000000 funcref)", ..HONEST },
            "67108864 bytes of memory"),
        ("a file that wants sockets is refused by their name",
            Raw { imports: &[SOCKETS], fields: r#"(import "wasi:sockets/tcp@0.2.0" "reach" (func))"#, ..HONEST },
            "imports `wasi:sockets/tcp@0.2.0`, which no guest gets"),
        ("a file that wants something of its own is refused by its name",
            Raw { imports: &[VAULT], fields: r#"(import "acme:secrets/vault@1.0.0" "open" (func))"#, ..HONEST },
            "imports `acme:secrets/vault@1.0.0`, which no guest gets"),
        ("a configuration without an end is refused",
            Raw { configure: "(loop $ever (br $ever)) unreachable", ..HONEST },
            "used up its time"),
        ("a configuration that traps is refused",
            Raw { configure: "unreachable", ..HONEST },
            "unreachable"),
        ("a configuration that wants all memory is refused",
            Raw { configure: "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable", ..HONEST },
            "67108864 bytes of memory"),
        ("a contract with thousands of columns is refused",
            Raw { configure: MANY_COLUMNS, ..HONEST },
            "in `returns`, there are 5000 columns"),
        ("a contract with a column of 100,000 letters is refused",
            Raw { configure: LONG_NAME, ..HONEST },
            "the name of a column has 100000 bytes"),
        ("a contract of bytes that are none is refused",
            Raw { configure: "(i32.store8 (i32.const 512) (i32.const 3)) (i32.const 512)", ..HONEST },
            "discriminant"),
        ("a contract that needs a column that is not there is refused",
            Raw { configure: "(i32.store (i32.const 604) (i32.const 4)) (i32.const 512)", ..HONEST },
            "needs column `valu`"),
    ]
}

#[test]
fn files_that_cannot_work_are_refused_by_name_before_the_first_record() {
    let mut wrong = Vec::new();
    for (name, raw, says) in refused() {
        let component = raw.built();
        let job = Job::new(Role::Transform, &component.path(), &json!({}));
        match job.plan() {
            Ok(_) => wrong.push(format!("{name}: it fits")),
            Err(told) if told.contains("guilty") && told.contains(says) && told.len() < 4000 => {}
            Err(told) => wrong.push(format!("{name}: {told}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_are_no_components_of_this_host_are_refused() {
    // Forty lines that stand for a type of 2^40 parts.
    let mut bomb = "(component (type $t0 (tuple u8 u8))\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        let twice = format!("(type $t{level} (tuple $t{below} $t{below}))\n");
        bomb.push_str(&twice);
    }
    bomb.push(')');
    // To wait for another thread would be to sleep where no time limit reaches.
    let waiting = "(component (core module
        (memory 1 1 shared)
        (func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))))";
    for (text, says) in [
        (bomb.as_str(), "effective type size exceeds"),
        (waiting, "threads must be enabled"),
    ] {
        let component = built(&wat::parse_str(text).unwrap());
        let job = Job::new(Role::Transform, &component.path(), &json!({}));
        let told = job.plan().err().expect("it cannot be loaded");
        let is_named = told.contains("guilty") && told.contains("is not a valid component");
        assert!(is_named && told.contains(says), "{told}");
    }
}

/// A guest whose `describe` says that this is the schema of its config.
fn described(schema: &str) -> Built {
    let escaped: Vec<String> = schema.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let escaped = escaped.concat();
    let pages = 8 + schema.len().div_ceil(65536);
    // It lives as long as the tests.
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let raw = Raw {
        memory: leak(pages.to_string()),
        describe: leak(format!(
            "(i32.store8 (i32.const 280) (i32.const 1))
             (i32.store (i32.const 284) (i32.const 524288))
             (i32.store (i32.const 288) (i32.const {}))
             (memory.init $schema (i32.const 524288) (i32.const 0) (i32.const {}))
             (i32.const 256)",
            schema.len(),
            schema.len()
        )),
        fields: leak(format!("(data $schema \"{escaped}\")")),
        ..HONEST
    };
    raw.built()
}

#[test]
fn a_schema_that_is_a_bomb_does_not_go_off_where_people_read_it() {
    let choices = |to: &str| json!({ "anyOf": vec![json!({ "$ref": to }); 1000] });
    let exponential = json!({
        "properties": { "a": choices("#/$defs/b") },
        "$defs": { "b": choices("#/$defs/c"), "c": choices("#/$defs/b") },
    });
    let long = json!({ "properties": { "a": { "description": "long ".repeat(100_000) } } });
    let nested = r#"{"properties":"#.repeat(20_000);
    let bombs: [(&str, String, &str); 5] = [
        ("references to references", exponential.to_string(), "a"),
        ("half a megabyte of prose", long.to_string(), "long long"),
        ("twenty thousand levels", nested, "is no JSON"),
        ("no JSON at all", "\u{1b}[2J{".to_owned(), "is no JSON"),
        (
            "a schema that refers to itself",
            json!({ "$ref": "#" }).to_string(),
            "no config",
        ),
    ];
    for (name, schema, says) in bombs {
        let component = described(&schema);
        let path = component.path();
        let path = path.to_str().unwrap();
        let inspected = output(&["inspect", path]);
        let printed = stdout(&inspected);
        assert!(inspected.status.success(), "{name}: {}", stderr(&inspected));
        assert!(printed.contains(says), "{name}: {printed}");
        assert!(printed.len() < 20_000, "{name}: {} bytes", printed.len());
        assert!(!printed.contains('\u{1b}'), "{name}: {printed}");
        let inspected = output(&["inspect", path, "--json"]);
        assert!(inspected.status.success(), "{name}: {}", stderr(&inspected));
        let printed: Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(printed["name"], "raw", "{name}");
    }
}

#[test]
fn a_description_without_an_end_is_told_of_and_holds_nobody_up() {
    let looping = Raw {
        describe: "(loop $ever (br $ever)) unreachable",
        ..HONEST
    };
    // 100 MB of zeros, as the component's name.
    let giant = Raw {
        memory: "1700",
        describe: "(i32.store (i32.const 256) (i32.const 16384))
                   (i32.store (i32.const 260) (i32.const 100000000)) (i32.const 256)",
        ..HONEST
    };
    let trapping = Raw {
        describe: "unreachable",
        ..HONEST
    };
    for (raw, says) in [
        (looping, "used up its time"),
        (giant, "1048576 bytes of output"),
        (trapping, "unreachable"),
    ] {
        let component = raw.built();
        let path = component.path();
        let inspected = output(&["inspect", path.to_str().unwrap()]);
        assert_eq!(inspected.status.code(), Some(1));
        let told = stderr(&inspected);
        assert!(
            told.contains("component `guest`") && told.contains(says),
            "{told}"
        );
    }
}
