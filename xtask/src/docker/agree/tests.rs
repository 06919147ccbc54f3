//! A set of files that agree, and what is said when one of them changes.

use serde_json::json;

use super::*;

const DOCKERFILE: &str = "FROM rust:1.95.0-bookworm AS builder\nWORKDIR /src\n\
    ENV RUSTUP_TOOLCHAIN=1.95.0\nCOPY . .\nRUN make\n\
    FROM debian:bookworm-slim\nWORKDIR /opt/wasmill\n\
    COPY --from=builder /src/image/guests target/guests\nCOPY pipeline.toml .\n\
    RUN install /opt/wasmill/data/checkpoints\n\
    ENV WASMILL_CACHE=/var/cache/wasmill\nUSER 10001:10001\n\
    HEALTHCHECK CMD [\"wasmill\", \"status\", \"pipeline.toml\"]\n";
const PIPELINE: &str = "# ${COMMENT}\n[source]\nbrokers = \"${KAFKA_BROKERS:-localhost:9092}\"\n\
    topic = \"sales\"\n[checkpoint]\nstore = \"file:data/checkpoints\"\n[components.totals]\npath = \"target/guests/totals.wasm\"\n\
    [dead_letters]\ntopic = \"sales.dead\"\n[admin]\nlisten = \"127.0.0.1:8080\"\n";

fn compose() -> Value {
    let service = |image: &str| {
        json!({
            "image": image, "mem_limit": "1g", "cpus": 1.0, "restart": "unless-stopped",
            "security_opt": ["no-new-privileges:true"], "healthcheck": { "test": ["CMD", "x"] },
        })
    };
    let mut services: serde_json::Map<_, _> = SERVERS
        .iter()
        .map(|(name, image)| ((*name).to_owned(), service(image)))
        .collect();
    for name in OURS {
        let mut ours = service("wasmill:0.1.0");
        ours["read_only"] = true.into();
        ours["cap_drop"] = json!(["ALL"]);
        services.insert(name.to_owned(), ours);
    }
    services["kafka"]["ports"] = json!(["127.0.0.1:9092:29092/tcp"]);
    services["topics"]["command"] = json!([
        "bash",
        "-c",
        "for topic in sales sales.dead; do make --partitions 4 $$topic\ndone"
    ]);
    services["generator"]["command"] = json!(["generate", "--topic", "sales"]);
    let wasmill = &mut services["wasmill"];
    wasmill["environment"] = json!({ "KAFKA_BROKERS": "kafka:9092", "WASMILL_LOG": "info" });
    wasmill["volumes"] = json!([
        "wasmill-cache:/var/cache/wasmill:rw",
        "wasmill-checkpoints:/opt/wasmill/data/checkpoints:rw",
        "/somewhere/pipeline.toml:/opt/wasmill/pipeline.toml:ro",
    ]);
    wasmill["healthcheck"]["test"] = json!(["CMD", "wasmill", "status", "pipeline.toml"]);
    wasmill["depends_on"] = json!({
        "topics": { "condition": "service_completed_successfully" },
        "postgres": { "condition": "service_healthy" },
    });
    json!({ "services": services })
}

/// The problems of files that agree but for these changes of text, and of the compose file's value.
fn problems(changes: &[(&str, &str)], compose_change: impl FnOnce(&mut Value)) -> Vec<String> {
    let change = |text: &str| {
        let texts = changes.iter();
        texts.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let mut compose = compose();
    compose_change(&mut compose["services"]);
    let pipeline_text = change(PIPELINE);
    let files = Files {
        dockerfile: Dockerfile::parse(&change(DOCKERFILE)).unwrap(),
        ignore: Ignore::parse(&change(".env*\n.git\ntarget\n")).unwrap(),
        compose,
        pipeline: toml::from_str(&pipeline_text).unwrap(),
        pipeline_text,
        toolchain: "1.95.0".to_owned(),
        version: "0.1.0".to_owned(),
    };
    files.problems(crate::workspace::root())
}

#[test]
fn files_that_agree_have_no_problems() {
    assert_eq!(problems(&[], |_| {}), Vec::<String>::new());
}

/// A text, what replaces it everywhere, and what is said then.
const TEXT_CHANGES: &[(&str, &str, &str)] = &[
    (
        "rust:1.95.0-bookworm",
        "rust:1.96.0-bookworm",
        "the builder's FROM is rust:1.96.0",
    ),
    (
        "TOOLCHAIN=1.95.0",
        "TOOLCHAIN=1.94.0",
        "RUSTUP_TOOLCHAIN is 1.94.0",
    ),
    (
        "debian:bookworm",
        "debian:trixie",
        "the second FROM is debian:trixie",
    ),
    (
        "COPY pipeline.toml",
        "COPY pipelines.toml",
        "COPY pipelines.toml: it is not in the repository",
    ),
    (
        "target\n",
        "targets\n",
        ".dockerignore has to leave out target",
    ),
    (
        ".git\n",
        ".git\npipeline.toml\n",
        "COPY pipeline.toml: .dockerignore leaves it out",
    ),
    (
        "--from=builder",
        "--from=build",
        "COPY --from=build: there is no such stage",
    ),
    (
        "/src/image/guests",
        "/image/guests",
        "not below its WORKDIR /src",
    ),
    (
        "guests target/guests",
        "guests guests",
        "no COPY brings component totals to /opt/wasmill/target",
    ),
    (
        "\"target/guests/totals",
        "\"guests/totals",
        "no COPY brings component totals",
    ),
    (
        "/opt/wasmill",
        "/app",
        "compose has to mount pipeline.toml at /app/pipeline.toml",
    ),
    ("USER 10001", "USER 0", "USER by number"),
    ("USER 10001:10001", "USER 10001", "USER by number"),
    ("10001:10001", "10001:0", "USER by number"),
    ("10001:10001", "wasmill", "USER by number"),
    (
        "CACHE=/var/cache/wasmill",
        "CACHE=/cache",
        "at WASMILL_CACHE (/cache)",
    ),
    (
        "\"file:data",
        "\"file:state",
        "wasmill-checkpoints at `store` of `[checkpoint]` (/opt/wasmill/state/checkpoints)",
    ),
    (
        "install /opt/wasmill/data/checkpoints",
        "install /opt/wasmill/data",
        "the image has to make /opt/wasmill/data/checkpoints",
    ),
    ("KAFKA_BROKERS", "BROKERS", "compose sets KAFKA_BROKERS"),
    ("KAFKA_BROKERS", "BROKERS", "pipeline.toml reads ${BROKERS}"),
    ("\"sales\"", "\"orders\"", "does not make orders"),
    (
        "\"sales\"",
        "\"orders\"",
        "generator has to write to orders",
    ),
    ("sales.dead", "dead", "does not make dead"),
    (
        "\"status\"",
        "\"--version\"",
        "the health check of image and compose",
    ),
    ("127.0.0.1:8080", "0.0.0.0:8080", "is 0.0.0.0:8080"),
    ("[admin]\nlisten = \"127.0.0.1:8080\"", "", "is nothing"),
];

#[test]
fn a_change_of_one_text_alone_is_noticed() {
    for (from, to, says) in TEXT_CHANGES {
        let found = problems(&[(*from, *to)], |_| {});
        assert!(
            found.iter().any(|problem| problem.contains(says)),
            "{from} → {to}: {found:?}"
        );
    }
}

/// A place in the services, its new value in JSON, and what is said then.
const COMPOSE_CHANGES: &[(&str, &str, &str)] = &[
    (
        "/wasmill/image",
        r#""wasmill:latest""#,
        "the image of wasmill is wasmill:latest",
    ),
    (
        "/postgres/image",
        r#""postgres:16""#,
        "the image of postgres is postgres:16",
    ),
    ("/kibana/image", "null", "the image of kibana is missing"),
    ("/wasmill/read_only", "false", "wasmill has to be read_only"),
    ("/generator/cap_drop", "[]", "generator has to be read_only"),
    (
        "/wasmill/volumes/0",
        r#""/tmp:/var/cache/wasmill:rw""#,
        "the volume wasmill-cache",
    ),
    (
        "/wasmill/volumes/1",
        r#""wasmill-checkpoints:/data:rw""#,
        "the volume wasmill-checkpoints",
    ),
    (
        "/wasmill/environment",
        "{}",
        "pipeline.toml reads ${KAFKA_BROKERS}",
    ),
    (
        "/topics/command/2",
        r#""make --partitions 1 sales sales.dead""#,
        "4 partitions",
    ),
    (
        "/generator/command/2",
        r#""sale""#,
        "generator has to write to sales",
    ),
    (
        "/wasmill/healthcheck/test/2",
        r#""check""#,
        "the health check",
    ),
    ("/kafka/mem_limit", "null", "kafka has no mem_limit"),
    (
        "/postgres/healthcheck",
        "null",
        "postgres has no healthcheck",
    ),
    (
        "/kafka/ports/0",
        r#""9092:9092/tcp""#,
        "kafka publishes 9092:9092/tcp",
    ),
    (
        "/wasmill/depends_on/postgres/condition",
        r#""service_started""#,
        "wait for postgres with service_healthy",
    ),
    (
        "/wasmill/depends_on/topics/condition",
        r#""service_healthy""#,
        "wait for topics with service_completed",
    ),
];

#[test]
fn a_change_of_the_compose_file_alone_is_noticed() {
    for (place, value, says) in COMPOSE_CHANGES {
        let value = serde_json::from_str(value).unwrap();
        let found = problems(&[], |services| {
            *services.pointer_mut(place).unwrap() = value;
        });
        assert!(
            found.iter().any(|problem| problem.contains(says)),
            "{place}: {found:?}"
        );
    }
}

#[test]
fn a_variable_is_what_compose_sets_or_its_default() {
    let environment = json!({ "A": "set" });
    for (text, value) in [
        ("plain", "plain"),
        ("${A:-default}", "set"),
        ("${B:-default}", "default"),
        ("${B}", ""),
    ] {
        assert_eq!(expanded(text, &environment), value);
    }
}

#[test]
fn variables_are_found_outside_of_comments() {
    let text = "a = \"${ONE}/${TWO_2:-x}\"\n  # ${NOT}\nb = \"$${X}\"";
    assert_eq!(variables(text), BTreeSet::from(["ONE", "TWO_2"]));
}
