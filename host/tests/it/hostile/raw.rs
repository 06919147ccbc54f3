//! Components put together from core code, for what no compiler would let a guest do.
//!
//! [`Raw`] is a transform in WebAssembly text that does what an honest one does (it doubles `value`),
//! with any of its parts replaced. It is written against the canonical ABI by hand: what a call
//! returns lies at [`ANSWER`], and the column that it returns at 1100.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The parts of a transform; each is WebAssembly text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    /// interfaces that it imports, as WIT, with their names
    pub(super) imports: &'static [(&'static str, &'static str)],
    /// fields of the module: imports first
    pub(super) fields: &'static str,
    /// how many pages its memory has, and may have
    pub(super) memory: &'static str,
    /// body of `(param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)`
    pub(super) realloc: &'static str,
    /// body of `(result i32)`
    pub(super) describe: &'static str,
    /// body of `(result i32)`
    pub(super) configure: &'static str,
    /// body of `(param $rows i32) (result i32)`: called where a row has the poison -1, when the good
    /// answer lies at [`ANSWER`]
    pub(super) deed: &'static str,
    /// body of what is called when the host has read the answer
    pub(super) post_return: &'static str,
}

/// Where the answer lies, as WebAssembly text.
const ANSWER: &str = "(i32.const 1024)";

pub(super) const HONEST: Raw = Raw {
    imports: &[],
    fields: "",
    memory: "8",
    realloc: "(call $allocate (local.get $align) (local.get $size))",
    describe: "(i32.const 256)",
    configure: "(i32.const 512)",
    deed: ANSWER,
    post_return: "",
};

impl Raw {
    /// Its component, in a folder that lives as long as the result.
    pub(super) fn built(&self) -> Built {
        let mut module = wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"));
        let mut resolve = Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        resolve.push_dir(&wit).unwrap();
        let mut imports = String::new();
        for (name, package) in self.imports {
            resolve.push_str("imports.wit", package).unwrap();
            let import = format!("import {name};\n");
            imports.push_str(&import);
        }
        let world = format!(
            "package test:raw;\nworld raw {{ {imports} export wasmill:guest/transform@0.1.0; }}"
        );
        let package = resolve.push_str("raw.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("raw")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default();
        encoder.module(&module).unwrap();
        built(&encoder.validate(true).encode().unwrap())
    }

    #[expect(clippy::too_many_lines, reason = "it is one text")]
    fn text(&self) -> String {
        let Self {
            fields,
            memory,
            realloc,
            describe,
            configure,
            deed,
            post_return,
            ..
        } = self;
        format!(
            r#"
(module
  {fields}
  (memory $memory (export "memory") {memory})
  (global $free (mut i32) (i32.const 16384))
  (global $armed (mut i32) (i32.const 0))
  (data (i32.const 0) "rawvaluedoubled")
  ;; description: three times the text `raw`, no schema
  (data (i32.const 256) "\00\00\00\00\03\00\00\00\00\00\00\00\03\00\00\00\00\00\00\00\03\00\00\00")
  ;; ok(contract): needs at 600, returns at 608, drops nothing
  (data (i32.const 512) "\00\00\00\00\58\02\00\00\01\00\00\00\60\02\00\00\01\00\00\00")
  ;; the text `value`; the field `doubled`, an int64
  (data (i32.const 600) "\03\00\00\00\05\00\00\00\08\00\00\00\07\00\00\00\01\00\00\00")

  (func $allocate (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (block $enough
      (loop $more
        (br_if $enough
          (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        unreachable))
    (local.get $at))

  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    {realloc})

  (func (export "wasmill:guest/transform@0.1.0#describe") (result i32)
    {describe})

  (func (export "wasmill:guest/transform@0.1.0#configure") (param i32 i32 i32 i32) (result i32)
    {configure})

  (func $misbehave (param $rows i32) (result i32)
    {deed})

  (func (export "wasmill:guest/transform@0.1.0#apply")
    (param $rows i32) (param $columns i32) (param $count i32) (result i32)
    (local $in i32) (local $out i32) (local $at i32) (local $poisoned i32)
    (local.set $in (i32.load offset=4 (local.get $columns)))
    (local.set $out (call $allocate (i32.const 8) (i32.shl (local.get $rows) (i32.const 3))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (i32.shl (local.get $rows) (i32.const 3))))
        (i64.store (i32.add (local.get $out) (local.get $at))
          (i64.shl (i64.load (i32.add (local.get $in) (local.get $at))) (i64.const 1)))
        (if (i64.eq (i64.load (i32.add (local.get $in) (local.get $at))) (i64.const -1))
          (then (local.set $poisoned (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $next)))
    ;; ok(changes): no selection, one column at 1100, no rejections
    (i32.store (i32.const 1040) (i32.const 1100))
    (i32.store (i32.const 1044) (i32.const 1))
    ;; column: i64s, no validity
    (i32.store (i32.const 1100) (i32.const 2))
    (i32.store (i32.const 1104) (local.get $out))
    (i32.store (i32.const 1108) (local.get $rows))
    (if (local.get $poisoned)
      (then (return (call $misbehave (local.get $rows)))))
    {ANSWER})

  (func (export "cabi_post_wasmill:guest/transform@0.1.0#apply") (param i32)
    {post_return}
    (global.set $free (i32.const 16384))))
"#
        )
    }
}

/// The component in a file.
pub(super) struct Built {
    folder: TempDir,
}

impl Built {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("raw.wasm")
    }
}

/// Any binary in a file.
pub(super) fn built(binary: &[u8]) -> Built {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("raw.wasm"), binary).unwrap();
    Built { folder }
}
