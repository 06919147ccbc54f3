//! Transforms that no compiler makes: see [`super::raw`].

use std::sync::LazyLock;

use serde_json::json;
use wasmill::guest::Failure;

use super::job::Role;
use super::raw::{Built, HONEST, Raw};
use super::{Case, Guilty, hold};

/// A guest, who is guilty, how its calls fail, what the dead letters say.
type Row = (&'static str, Raw, Guilty, Option<Failure>, &'static str);

/// Does this wherever a row has the poison.
const fn deed(deed: &'static str) -> Raw {
    Raw { deed, ..HONEST }
}

const RANDOM: (&str, &str) = (
    "wasi:random/random@0.2.0",
    "package wasi:random@0.2.0;
     interface random {
       get-random-bytes: func(len: u64) -> list<u8>;
       get-random-u64: func() -> u64;
     }",
);

const STDOUT: (&str, &str) = (
    "wasi:cli/stdout@0.2.0",
    "package wasi:cli@0.2.0;
     interface stdout {
       resource output-stream;
       get-stdout: func() -> output-stream;
     }",
);

/// A function with a name of 100,000 characters, which a trap in it would repeat for each row.
static LONG_NAME: LazyLock<String> = LazyLock::new(|| {
    let name = "long_".repeat(20_000);
    format!("(func ${name} (result i32) unreachable)\n(func $fail (result i32) (call ${name}))")
});

/// A result in its own words, which lie at 262144 and are zeros unless something is stored there.
const REFUSAL: &str = "
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 1028) (i32.const 262144))
    (i32.store (i32.const 1032) (i32.const 4))
    (i32.store (i32.const 262144) (i32.const 0x28c328c3))
    (i32.const 1024)";

/// One text of 100,000 bytes, as the reason of 8,192 rejections.
const ALIASED: &str = "
    (local $at i32)
    (local.set $at (i32.const 393216))
    (loop $next
      (i32.store (local.get $at) (local.get $rows))
      (i32.store offset=4 (local.get $at) (i32.const 262144))
      (i32.store offset=8 (local.get $at) (i32.const 100000))
      (local.set $at (i32.add (local.get $at) (i32.const 12)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 491520))))
    (i32.store (i32.const 1048) (i32.const 393216))
    (i32.store (i32.const 1052) (i32.const 8192))
    (i32.const 1024)";

/// Ten times the values that its memory has, and then some that overlap with the answer itself.
const OVERLAPPING: &str = "
    (i32.store (i32.const 1104) (i32.const 1024))
    (i32.store (i32.const 1108) (i32.const 1000))
    (i32.const 1024)";

#[rustfmt::skip]
fn answers() -> Vec<Row> {
    use Failure::{Contract, Output, Trap};
    use Guilty::Poisoned;
    vec![
        ("an answer outside of its memory is noticed",
            deed("(i32.const 0x7ffffff0)"), Poisoned, Some(Trap), "the guest trapped: "),
        ("an answer at an odd address is noticed",
            deed("(i32.const 1027)"), Poisoned, Some(Trap), "not aligned"),
        ("a list that leaves its memory is noticed",
            deed("(i32.store (i32.const 1108) (i32.const 0x0fffffff)) (i32.const 1024)"),
            Poisoned, Some(Trap), "out of bounds"),
        ("a list longer than any memory is noticed",
            deed("(i32.store (i32.const 1108) (i32.const -1)) (i32.const 1024)"),
            Poisoned, Some(Trap), "out of bounds"),
        ("values at an odd address are noticed",
            deed("(i32.store (i32.const 1104) (i32.const 4099)) (i32.const 1024)"),
            Poisoned, Some(Trap), "not aligned"),
        ("a layout that does not exist is noticed",
            deed("(i32.store8 (i32.const 1100) (i32.const 9)) (i32.const 1024)"),
            Poisoned, Some(Trap), "discriminant"),
        ("neither some nor none is noticed",
            deed("(i32.store8 (i32.const 1120) (i32.const 7)) (i32.const 1024)"),
            Poisoned, Some(Trap), "discriminant"),
        ("neither ok nor an error is noticed",
            deed("(i32.store8 (i32.const 1024) (i32.const 255)) (i32.const 1024)"),
            Poisoned, Some(Trap), "discriminant"),
        ("an error that is not UTF-8 is noticed",
            deed(REFUSAL), Poisoned, Some(Trap), "utf-8"),
        ("one text in a thousand places counts a thousand times",
            deed(ALIASED), Poisoned, Some(Output), "8388608 bytes of output"),
        ("values that overlap with everything are only too many",
            deed(OVERLAPPING), Poisoned, Some(Contract), "there are 1000 values where 1 were due"),
    ]
}

#[rustfmt::skip]
fn code() -> Vec<Row> {
    use Failure::{Memory, Time, Trap};
    use Guilty::{Everybody, Poisoned};
    let table = Raw {
        fields: "(table $table 1 funcref)",
        ..deed("(loop $more
                  (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 10000000)) (i32.const -1))))
                unreachable")
    };
    let chance = Raw { imports: &[RANDOM], ..HONEST };
    vec![
        ("memory that is grown page by page has a bound",
            deed("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"),
            Poisoned, Some(Memory), "67108864 bytes of memory"),
        ("a table that is grown counts as memory",
            table, Poisoned, Some(Memory), "67108864 bytes of memory"),
        ("a guest that waits for memory which it does not get runs out of time",
            deed("(loop $more (drop (memory.grow (i32.const 1000))) (br $more)) unreachable"),
            Poisoned, Some(Time), "used up its time"),
        ("recursion of bare code overflows the guest's stack, not the host's",
            deed("(call $misbehave (call $misbehave (local.get $rows)))"),
            Poisoned, Some(Trap), "call stack exhausted"),
        ("a function's name is cut",
            Raw { fields: &LONG_NAME, ..deed("(call $fail)") },
            Poisoned, Some(Trap), "in long_long_"),
        ("a loop after the answer is ended",
            Raw { post_return: "(if (global.get $armed) (then (loop $ever (br $ever))))",
                ..deed("(global.set $armed (i32.const 1)) (i32.const 1024)") },
            Poisoned, Some(Time), "used up its time"),
        ("a trap after the answer is noticed",
            Raw { post_return: "(if (global.get $armed) (then unreachable))",
                ..deed("(global.set $armed (i32.const 1)) (i32.const 1024)") },
            Poisoned, Some(Trap), "unreachable"),
        ("a loop where the host asks for room is ended",
            Raw { realloc: "(if (i32.eq (local.get $align) (i32.const 8)) (then (loop $ever (br $ever))))
                            (call $allocate (local.get $align) (local.get $size))", ..HONEST },
            Everybody, Some(Time), "used up its time"),
        ("room outside of its memory is not written to",
            Raw { realloc: "(if (i32.eq (local.get $align) (i32.const 8)) (then (return (i32.const 0x7ffffff8))))
                            (call $allocate (local.get $align) (local.get $size))", ..HONEST },
            Everybody, Some(Trap), "the guest trapped: "),
        ("room at an odd address is not written to",
            Raw { realloc: "(if (i32.eq (local.get $align) (i32.const 8)) (then (return (i32.const 20003))))
                            (call $allocate (local.get $align) (local.get $size))", ..HONEST },
            Everybody, Some(Trap), "the guest trapped: "),
        ("no more randomness is made than a guest can want",
            Raw { fields: r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $bytes (param i64 i32)))"#,
                deed: "(call $bytes (i64.const 0x10000000000) (i32.const 2048)) (i32.const 1024)", ..chance },
            Poisoned, Some(Trap), "it asked for 1099511627776 random bytes at once"),
        ("handles have a bound",
            Raw { imports: &[STDOUT],
                fields: r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))"#,
                ..deed("(loop $more (drop (call $stdout)) (br $more)) unreachable") },
            Poisoned, Some(Trap), "the guest trapped: "),
    ]
}

#[rustfmt::skip]
fn odd_but_harmless() -> Vec<Row> {
    use Failure::Trap;
    use Guilty::{Nobody, Poisoned};
    vec![
        ("core code without a compiler is a guest like any other",
            HONEST, Nobody, None, ""),
        ("a guest that never says what it is runs all the same",
            Raw { describe: "(loop $ever (br $ever)) unreachable", ..HONEST }, Nobody, None, ""),
        ("a contract that is made of chance is always the same",
            Raw { imports: &[RANDOM],
                fields: r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#,
                // Whether it selects, and whether its column may be null.
                configure: "(i64.store (i32.const 2048) (call $random))
                            (i32.store8 (i32.const 540) (i32.and (i32.load8_u (i32.const 2048)) (i32.const 1)))
                            (i32.store8 (i32.const 618) (i32.and (i32.load8_u (i32.const 2049)) (i32.const 1)))
                            (i32.const 512)",
                ..deed("unreachable") },
            Poisoned, Some(Trap), "unreachable"),
    ]
}

async fn hold_all(rows: Vec<Row>) {
    let built: Vec<(Built, Row)> = rows.into_iter().map(|row| (row.1.built(), row)).collect();
    let case = |(built, row): &(Built, Row)| {
        let &(name, _, guilty, failure, says) = row;
        Case {
            name,
            guest: built.path(),
            config: json!({}),
            guilty,
            failure,
            says,
        }
    };
    hold(Role::Transform, built.iter().map(case)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_no_compiler_writes_are_not_believed() {
    hold_all(answers()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_no_compiler_writes_costs_only_its_rows() {
    hold_all(code()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_odd_works() {
    hold_all(odd_but_harmless()).await;
}
