//! Files that are no guests. Components are put together byte by byte, after the binary format of
//! the component model.

use std::fs;
use std::path::PathBuf;

use super::*;

fn refusal(binary: &[u8]) -> LoadError {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest.wasm");
    fs::write(&path, binary).unwrap();
    let engine = GuestEngine::new(None).unwrap();
    let error = engine.load("guest", &path).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with(&path.display().to_string()),
        "{message}"
    );
    error
}

fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [MAGIC, COMPONENT_LAYER, &sections.concat()].concat()
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id, body.len() as u8], body].concat()
}

/// A plain name, as imports and exports have them.
fn name(name: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes()].concat()
}

/// Imports an instance that has one function.
fn import(interface: &str) -> Vec<u8> {
    let function = [&[0x04][..], &name("reach"), &[0x01, 0]].concat();
    let instance_type = [&[1, 0x42, 2, 0x01, 0x40, 0, 0x01, 0][..], &function].concat();
    let imported = [&[1][..], &name(interface), &[0x05, 0]].concat();
    [section(7, &instance_type), section(10, &imported)].concat()
}

/// Makes an instance that has nothing in it, and exports the `index`th instance. Imports, instances
/// and exports all count.
fn export(interface: &str, index: u8) -> Vec<u8> {
    let exported = [&[1][..], &name(interface), &[0x05, index, 0]].concat();
    [section(5, &[1, 0x01, 0]), section(11, &exported)].concat()
}

#[test]
fn a_file_that_is_missing_is_named() {
    let engine = GuestEngine::new(None).unwrap();
    let error = engine
        .load("guest", &PathBuf::from("no/such.wasm"))
        .unwrap_err();
    assert!(matches!(error, LoadError::Missing { .. }));
    assert_eq!(error.to_string(), "no/such.wasm does not exist");
}

#[test]
fn a_directory_is_unreadable() {
    let directory = tempfile::tempdir().unwrap();
    let engine = GuestEngine::new(None).unwrap();
    let error = engine.load("guest", directory.path()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn a_file_without_an_end_is_not_read_to_it() {
    let engine = GuestEngine::new(None).unwrap();
    let error = engine.load("guest", &PathBuf::from("/dev/zero"));
    assert_eq!(
        error.unwrap_err().to_string(),
        "/dev/zero is larger than 256 MiB, which no guest is"
    );
}

#[test]
fn a_file_that_is_no_component_is_told_from_one_that_is_a_core_module() {
    assert!(matches!(refusal(b""), LoadError::NotWasm { .. }));
    assert!(matches!(refusal(b"(component)"), LoadError::NotWasm { .. }));
    assert!(matches!(
        refusal(b"\0asm\x01\0\0\0"),
        LoadError::CoreModule { .. }
    ));
    let damaged = [component(&[]), vec![0xff, 0xff]].concat();
    assert!(matches!(refusal(&damaged), LoadError::Invalid { .. }));
}

#[test]
fn a_component_of_another_world_says_what_it_exports() {
    let error = refusal(&component(&[]));
    assert!(matches!(&error, LoadError::WrongWorld { exports, .. } if exports == "nothing"));
    let error = refusal(&component(&[export("wasi:cli/run@0.2.0", 0)]));
    assert!(
        error.to_string().ends_with("but `wasi:cli/run@0.2.0`"),
        "{error}"
    );
}

#[test]
fn both_interfaces_are_one_too_many() {
    let both = [
        export("wasmill:guest/transform@0.1.0", 0),
        export("wasmill:guest/aggregate@0.1.0", 1),
    ];
    let error = refusal(&component(&both));
    assert!(matches!(error, LoadError::BothWorlds { .. }), "{error}");
}

#[test]
fn another_version_of_the_contract_is_named() {
    let error = refusal(&component(&[export("wasmill:guest/transform@0.2.0", 0)]));
    assert!(
        matches!(&error, LoadError::OtherVersion { found, .. } if found == "wasmill:guest/transform@0.2.0"),
        "{error}"
    );
}

#[test]
fn imports_that_no_guest_gets_are_named() {
    for import_name in [
        "wasi:sockets/tcp@0.2.0",
        "wasi:cli/environment@0.3.0",
        "wasi:cli/environment",
        "acme:secrets/vault@1.0.0",
    ] {
        let guest = [
            import(import_name),
            export("wasmill:guest/transform@0.1.0", 1),
        ];
        let error = refusal(&component(&guest));
        let LoadError::UnknownImport { imports, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(imports, format!("`{import_name}`"));
    }
}

#[test]
fn an_interface_without_its_functions_is_refused() {
    let guest = [
        import("wasi:cli/environment@0.2.6"),
        export("wasmill:guest/transform@0.1.0", 1),
    ];
    let error = refusal(&component(&guest));
    assert!(matches!(error, LoadError::WrongType { .. }), "{error}");
    assert!(error.to_string().contains("describe"), "{error}");
}
