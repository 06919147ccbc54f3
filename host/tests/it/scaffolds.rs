//! `wasmill new` and `wasmill build`: what they make is built and tested for real.
//!
//! Cargo gets the versions of the workspace's own lock file and one target folder for all of them, so
//! that dependencies are there already and are compiled once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::binary::{stderr, stdout, wasmill};

/// Guests by name: their kind, whether they do without the SDK, and how they are tested.
const GUESTS: [(&str, &str, bool, &[&str]); 4] = [
    (
        "sale-size",
        "transform",
        false,
        &["--config-file", "config.json"],
    ),
    (
        "plain-size",
        "transform",
        true,
        &["--config-file", "config.json"],
    ),
    ("largest", "aggregate", false, &["--key", "payment_method"]),
    (
        "plain-largest",
        "aggregate",
        true,
        &["--key", "payment_method"],
    ),
];

fn repository() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

/// The command as people run it there.
fn in_folder(mut command: Command, folder: &Path) -> Output {
    settle_in(&mut command, folder);
    command.output().expect("the program starts")
}

/// Has a command run there; what it builds is shared by all tests.
pub(crate) fn settle_in(command: &mut Command, folder: &Path) {
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", shared_target())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .env_remove("RUSTFLAGS");
}

fn shared_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("scaffolds")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    in_folder(wasmill(arguments), folder)
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments);
    in_folder(cargo, folder)
}

fn succeeded(output: &Output) -> String {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    out
}

pub(crate) fn lock(folder: &Path) {
    fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// A folder of the user's, outside of any checkout.
fn user_folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn guests_in_a_workspace_build_and_pass_their_own_tests() {
    let folder = user_folder();
    let root = folder.path();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"guests/*\"]\n",
    )
    .unwrap();
    lock(root);
    for (name, kind, plain, _) in GUESTS {
        let folder = format!("guests/{name}");
        let mut arguments = vec!["new", &folder, "--kind", kind];
        arguments.extend(plain.then_some("--plain"));
        let said = succeeded(&run(root, &arguments));
        assert!(said.contains("wasmill build\n"), "{said}");
    }

    // All members, and so the copy of the SDK too. In release mode, as `wasmill build` has compiled
    // the macros in it, or will.
    let tested = cargo(root, &["test", "--workspace", "--release"]);
    let passed = succeeded(&tested).matches("... ok").count();
    assert!(passed >= 4 * 2, "{passed}");
    assert!(!stderr(&tested).contains("warning"), "{}", stderr(&tested));

    let built = succeeded(&run(root, &["build"]));
    for (name, kind, _, options) in GUESTS {
        assert!(
            built.contains(&format!("| {name:<13} | {kind:<9} |")),
            "{built}"
        );
        let component = format!("../../target/guests/{}.wasm", name.replace('-', "_"));
        let mut arguments = vec!["test", &component, "--input", "rows.ndjson"];
        arguments.extend(["--expect", "expected.ndjson"]);
        arguments.extend(options);
        let tested = succeeded(&run(&root.join("guests").join(name), &arguments));
        assert!(
            tested.ends_with("as expected in expected.ndjson\n"),
            "{tested}"
        );
    }
    assert!(succeeded(&run(root, &["build", "guests/largest"])).contains("| unchanged |"));
    a_law_that_is_broken_is_found(root);
}

/// Breaks two of the guests in ways that a test of single rows would not see.
fn a_law_that_is_broken_is_found(root: &Path) {
    let change = |guest: &str, from: &str, to: &str| {
        let path = root.join("guests").join(guest).join("src/lib.rs");
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "{source}");
        fs::write(path, source.replace(from, to)).unwrap();
    };
    let test = |guest: &str, options: &[&str]| {
        let component = format!("../../target/guests/{}.wasm", guest.replace('-', "_"));
        let arguments = [&["test", &component, "--input", "rows.ndjson"], options].concat();
        run(&root.join("guests").join(guest), &arguments)
    };
    // The last amount in place of the largest; the place in the batch in place of the amount.
    change(
        "plain-largest",
        "self.largest[group].max(largest)",
        "largest",
    );
    change(
        "plain-size",
        "match size(amount, ",
        "match size(amount + row as i64 * 10_000, ",
    );
    succeeded(&run(root, &["build", "guests"]));

    let broken = test("plain-largest", &[]);
    assert_eq!(broken.status.code(), Some(1));
    let said = stderr(&broken);
    assert!(
        said.contains("it must make no difference how rows are cut and merged"),
        "{said}"
    );
    let broken = test("plain-size", &["--config-file", "config.json"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = stderr(&broken);
    assert!(said.contains("must depend on that row alone"), "{said}");
}

#[test]
fn a_guest_builds_below_a_workspace_that_does_not_list_it() {
    let folder = user_folder();
    let root = folder.path();
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nmembers = [\"app\"]\n",
    )
    .unwrap();
    fs::create_dir_all(root.join("app/src")).unwrap();
    fs::write(root.join("app/src/lib.rs"), "").unwrap();
    fs::write(root.join("app/Cargo.toml"), "[package]\nname = \"app\"\n").unwrap();

    succeeded(&run(root, &["new", "tools/largest", "--kind", "aggregate"]));
    assert!(root.join("tools/wasmill-guest/macros/src/lib.rs").exists());
    lock(&root.join("tools/largest"));
    let built = succeeded(&run(root, &["build", "--json"]));
    let built: serde_json::Value = serde_json::from_str(&built).unwrap();
    assert_eq!(built.as_array().unwrap().len(), 1, "{built}");
    assert_eq!(built[0]["kind"], "aggregate");
    assert_eq!(built[0]["package"], "largest");
    let path = Path::new(built[0]["path"].as_str().unwrap());
    assert!(
        path.ends_with("tools/largest/target/guests/largest.wasm"),
        "{built}"
    );
    assert!(path.exists());
}

#[test]
fn a_guest_in_a_checkout_uses_its_sdk() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    succeeded(&run(folder.path(), &["new", "mine", "--kind", "transform"]));
    assert!(!folder.path().join("wasmill-guest").exists());
    let guest = folder.path().join("mine");
    lock(&guest);
    let out = folder.path().join("out");
    let built = run(&guest, &["build", "--out", out.to_str().unwrap()]);
    assert!(succeeded(&built).contains("| mine  | transform |"));
    assert!(out.join("mine.wasm").exists());
}

#[test]
fn a_folder_that_is_there_and_a_name_that_is_none_are_refused() {
    let folder = user_folder();
    let new = |name: &str| {
        run(
            folder.path(),
            &["new", name, "--kind", "transform", "--plain"],
        )
    };
    succeeded(&new("mine"));
    let source = folder.path().join("mine/src/lib.rs");
    fs::write(&source, "// changed").unwrap();
    for (name, reason) in [
        ("mine", "mine is there already"),
        ("1st", "`1st` is no name of a guest"),
        ("match", "a word of Rust"),
        ("serde", "a library that guests use"),
    ] {
        let refused = new(name);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(reason), "{}", stderr(&refused));
    }
    assert_eq!(fs::read_to_string(source).unwrap(), "// changed");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_building_lacks_is_named_with_what_brings_it() {
    let folder = user_folder();
    let empty = run(folder.path(), &["build"]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(
        stderr(&empty).contains("`wasmill new NAME"),
        "{}",
        stderr(&empty)
    );

    succeeded(&run(
        folder.path(),
        &["new", "mine", "--kind", "transform", "--plain"],
    ));
    let mut without_cargo = wasmill(&["build"]);
    without_cargo.env("CARGO", "/no/such/cargo");
    let said = stderr(&in_folder(without_cargo, folder.path()));
    assert!(said.contains("https://rustup.rs"), "{said}");

    let sysroot = folder.path().join("rustc");
    fs::write(&sysroot, "#!/bin/sh\necho /no/such/sysroot\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&sysroot, mode).unwrap();
    let mut without_target = wasmill(&["build"]);
    without_target.env("RUSTC", &sysroot);
    let said = stderr(&in_folder(without_target, folder.path()));
    assert!(said.contains("`rustup target add wasm32-wasip2`"), "{said}");
}

#[test]
fn what_does_not_compile_or_is_no_guest_ends_the_build() {
    let folder = user_folder();
    let library = folder.path().join("library");
    fs::create_dir_all(library.join("src")).unwrap();
    let manifest = "[package]\nname = \"library\"\nedition = \"2024\"\n\
        [lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    fs::write(library.join("Cargo.toml"), manifest).unwrap();
    fs::write(
        library.join("src/lib.rs"),
        "#[unsafe(no_mangle)] extern \"C\" fn f() {}",
    )
    .unwrap();
    let foreign = run(folder.path(), &["build"]);
    assert_eq!(foreign.status.code(), Some(1));
    let said = stderr(&foreign);
    assert!(
        said.contains("library: built, but it is no guest"),
        "{said}"
    );
    assert!(!library.join("target/guests").exists());

    fs::write(library.join("src/lib.rs"), "fn f() { no_such_function() }").unwrap();
    let broken = run(folder.path(), &["build"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = stderr(&broken);
    assert!(said.contains("no_such_function"), "{said}");
    assert!(said.contains("its report stands above"), "{said}");
}
