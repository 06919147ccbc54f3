//! Faults of components, transforms and aggregates.

use insta::assert_snapshot;

use super::refused;

const WINDOW: &str = "window = { kind = \"tumbling\", every = \"1 day\", time = \"sold\" }";

#[test]
fn a_stream_that_is_not_there_is_reported() {
    assert_snapshot!(refused(&[(
        "from = \"converted\"\ncomponent",
        "from = \"convertd\"\ncomponent"
    )]));
}

#[test]
fn a_stream_that_is_defined_later_is_told_apart() {
    assert_snapshot!(refused(&[(
        "[[transform]]\nname = \"converted\"",
        "[[transform]]\nname = \"first\"\nfrom = \"converted\"\ncomponent = \"convert\"\n\n[[transform]]\nname = \"converted\""
    )]));
}

#[test]
fn a_stage_cannot_read_itself() {
    assert_snapshot!(refused(&[("from = \"source\"", "from = \"converted\"")]));
}

#[test]
fn a_stage_cannot_read_an_aggregate() {
    assert_snapshot!(refused(&[("from = \"source\"", "from = \"daily\"")]));
}

#[test]
fn a_stream_has_a_name_of_its_own() {
    assert_snapshot!(refused(&[(
        "name = \"daily\"\nfrom = \"converted\"",
        "name = \"converted\"\nfrom = \"converted\""
    )]));
}

#[test]
fn a_stage_cannot_be_called_source() {
    assert_snapshot!(refused(&[(
        "[[aggregate]]\nname = \"daily\"",
        "[[aggregate]]\nname = \"source\""
    )]));
}

#[test]
fn a_faulty_stage_is_no_reason_to_blame_those_that_read_it() {
    assert_snapshot!(refused(&[(
        "component = \"convert\"",
        "component = \"konvert\""
    )]));
}

#[test]
fn a_component_needs_a_file() {
    assert_snapshot!(refused(&[("path = \"sum.wasm\"", "")]));
}

#[test]
fn without_components_it_says_how_to_add_one() {
    assert_snapshot!(refused(&[
        (
            "[components.convert]\npath = \"convert.wasm\"\nlimits = { memory = \"32MiB\", time = \"500ms\" }\n",
            ""
        ),
        ("[components.sum]\npath = \"sum.wasm\"\n", ""),
    ]));
}

#[test]
fn an_output_limit_is_within_the_memory() {
    assert_snapshot!(refused(&[("time = \"500ms\"", "output = \"64MiB\"")]));
}

#[test]
fn a_window_of_a_later_version_is_told_apart_from_an_unknown_one() {
    assert_snapshot!(refused(&[(
        WINDOW,
        "window = { kind = \"session\", gap = \"5m\" }"
    )]));
}

#[test]
fn a_tumbling_window_needs_its_length_and_its_time() {
    assert_snapshot!(refused(&[(WINDOW, "window = { kind = \"tumbling\" }")]));
}

#[test]
fn no_window_has_no_length() {
    assert_snapshot!(refused(&[(
        WINDOW,
        "window = { kind = \"none\", every = \"1 day\" }"
    )]));
}

#[test]
fn final_results_are_of_a_later_version() {
    assert_snapshot!(refused(&[(WINDOW, "emit = \"final\"\nlateness = \"1h\"")]));
}

#[test]
fn a_key_cannot_be_a_column_of_the_window() {
    assert_snapshot!(refused(&[(
        WINDOW,
        &format!("key = [\"window_start\"]\n{WINDOW}")
    )]));
}

#[test]
fn a_column_of_the_key_cannot_occur_twice() {
    assert_snapshot!(refused(&[(WINDOW, "key = [\"id\", \"id\"]")]));
}

#[test]
fn a_config_has_only_what_json_has() {
    assert_snapshot!(refused(&[(
        "component = \"convert\"",
        "component = \"convert\"\nconfig = { rates = [1.0, nan] }"
    )]));
}
