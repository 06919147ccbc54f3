//! `[checkpoint]`: how often the state is written down, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::reader::{Reader, Section, Text};
use crate::config::{
    Checkpoint, CheckpointLocation, Diagnostic, S3Credentials, S3Location, Secret,
};

/// S3's bound on the name of a bucket.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// Leaves room for our own names within the 1,024 bytes of a key.
const PREFIX_BYTES_MAX: usize = 256;

/// The region where only the endpoint is given: servers other than Amazon's have none of their own,
/// and take this one.
const REGION_OF_OTHERS: &str = "us-east-1";

/// `[checkpoint]`, or what holds without it. `None` when it is faulty. Relative paths begin at `base`.
pub(super) fn checkpoint(section: Option<Section<'_>>, base: &Path) -> Option<Checkpoint> {
    let Some(mut section) = section else {
        return Some(Checkpoint {
            interval: Checkpoint::INTERVAL,
            keep: Checkpoint::KEEP,
            location: CheckpointLocation::File {
                path: base.join(Checkpoint::FOLDER),
            },
        });
    };
    // In an embedded run a store elsewhere gives way to a folder.
    section.replaced_when_embedded(&[
        ("store", "s3://replaced"),
        ("endpoint", "http://replaced"),
        ("region", "replaced"),
    ]);
    let intervals = Duration::from_secs(1)..=Duration::from_hours(1);
    let interval = section.duration("interval", intervals);
    let store = section.text("store");
    let keep = section.integer("keep", 2..=100);
    let location = location(&mut section, store, base);
    section.finish();
    Some(Checkpoint {
        interval: interval.unwrap_or(Checkpoint::INTERVAL),
        keep: keep.map_or(Checkpoint::KEEP, |keep| keep as usize),
        location: location?,
    })
}

fn location(
    section: &mut Section<'_>,
    store: Option<Text>,
    base: &Path,
) -> Option<CheckpointLocation> {
    let has_store = section.has("store");
    let endpoint = section.text("endpoint");
    let endpoint = endpoint.map(|text| (section.parsed("endpoint", &text, endpoint_url), text));
    let region = section.text("region");
    let region = region.map(|text| (section.parsed("region", &text, region_name), text));
    let Some(store) = store else {
        // One that is there and faulty was reported; what else is said may go with what was meant.
        if has_store {
            return None;
        }
        goes_with_s3(
            section,
            &[("endpoint", endpoint.as_ref()), ("region", region.as_ref())],
        );
        let path = base.join(Checkpoint::FOLDER);
        return Some(CheckpointLocation::File { path });
    };
    match section.parsed("store", &store, parsed_store)? {
        Store::Folder(path) => {
            goes_with_s3(
                section,
                &[("endpoint", endpoint.as_ref()), ("region", region.as_ref())],
            );
            let path = base.join(path);
            Some(CheckpointLocation::File { path })
        }
        Store::S3 { bucket, prefix } => {
            // Faulty ones were reported, and must not be taken for absent ones.
            let endpoint = match endpoint {
                Some((endpoint, _)) => Some(endpoint?),
                None => from_environment(section, "AWS_ENDPOINT_URL", endpoint_url)?,
            };
            let region = match region {
                Some((region, _)) => Some(region?),
                None => from_environment(section, "AWS_REGION", region_name)?,
            };
            let region = region.or_else(|| {
                (endpoint.is_some() || section.reader.is_embedded())
                    .then(|| REGION_OF_OTHERS.to_owned())
            });
            if region.is_none() {
                let message = "the region of the bucket is missing";
                let help = "add `region`, or set AWS_REGION; for a server that is not Amazon's, add `endpoint`, or set AWS_ENDPOINT_URL";
                section
                    .reader
                    .push(Diagnostic::error(message).at(&store.span).help(help));
            }
            Some(CheckpointLocation::S3(S3Location {
                bucket,
                prefix,
                endpoint,
                region: region?,
                credentials: credentials(section.reader),
            }))
        }
    }
}

type Setting<'a> = (&'static str, Option<&'a (Option<String>, Text)>);

/// Reports settings that a folder does not have.
fn goes_with_s3(section: &Section<'_>, settings: &[Setting<'_>]) {
    for (key, setting) in settings {
        if let Some((_, text)) = setting {
            let message = format!("`{key}` goes with `store = \"s3://BUCKET/PREFIX\"`");
            section
                .reader
                .push(Diagnostic::error(message).at(&text.span));
        }
    }
}

/// A variable that holds where the file says nothing. `None` when it is faulty, which was reported;
/// `Some(None)` when it is not set.
#[expect(clippy::option_option, reason = "faulty and not set are told apart")]
fn from_environment(
    section: &Section<'_>,
    name: &str,
    parse: fn(&str) -> Result<String, &'static str>,
) -> Option<Option<String>> {
    let Some(value) = section.reader.variable(name) else {
        return Some(None);
    };
    match parse(&value) {
        Ok(value) => Some(Some(value)),
        Err(rule) => {
            let message = format!("the environment variable {name} cannot be used");
            section
                .reader
                .push(Diagnostic::error(message).at(&section.span).help(rule));
            None
        }
    }
}

fn credentials(reader: &Reader<'_>) -> Option<S3Credentials> {
    Some(S3Credentials {
        access_key_id: Secret::new(reader.variable("AWS_ACCESS_KEY_ID")?),
        secret_access_key: Secret::new(reader.variable("AWS_SECRET_ACCESS_KEY")?),
        session_token: reader.variable("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

enum Store {
    Folder(PathBuf),
    S3 { bucket: String, prefix: String },
}

const STORE_RULE: &str = "write `file:FOLDER`, or `s3://BUCKET/PREFIX`";

fn parsed_store(text: &str) -> Result<Store, &'static str> {
    match text.split_once(':') {
        Some(("file", path)) => folder(path).map(Store::Folder),
        Some(("s3", rest)) => bucket(rest),
        _ => Err(STORE_RULE),
    }
}

fn folder(path: &str) -> Result<PathBuf, &'static str> {
    // `file:///var/lib` is the same as `file:/var/lib`; what follows two slashes alone is a host.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("write `file:FOLDER`, `file:/FOLDER` or `file:///FOLDER`"),
        None => path,
    };
    if path.trim().is_empty() || path.contains('\0') {
        return Err("name a folder: `file:data/checkpoints`");
    }
    Ok(path.into())
}

fn bucket(rest: &str) -> Result<Store, &'static str> {
    let (bucket, prefix) = rest
        .strip_prefix("//")
        .ok_or(STORE_RULE)
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = BUCKET_BYTES.contains(&bucket.len())
        && bucket.starts_with(is_word)
        && bucket.ends_with(is_word)
        && bucket.chars().all(|c| is_word(c) || "-.".contains(c));
    if !fits {
        return Err(
            "a bucket is named by 3 to 63 small letters, digits, `-` and `.`: `s3://BUCKET/PREFIX`",
        );
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
        !part.is_empty() && part != "." && part != ".." && part.chars().all(fits)
    };
    let fits = prefix.len() <= PREFIX_BYTES_MAX && prefix.split('/').all(is_part);
    if !fits && !prefix.is_empty() {
        return Err(
            "a prefix has letters, digits, `-`, `_`, `.` and `=`, with single slashes between, at most 256",
        );
    }
    Ok(Store::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn endpoint_url(text: &str) -> Result<String, &'static str> {
    const RULE: &str =
        "an endpoint is a URL, as `https://s3.example.com` or `http://localhost:9000`";
    let url = reqwest::Url::parse(text).map_err(|_| RULE)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "leave the user out: the keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    if !plain || !["http", "https"].contains(&url.scheme()) {
        return Err(RULE);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn region_name(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if text.is_empty() || text.len() > 63 || !text.chars().all(fits) {
        return Err("a region has letters, digits, `-` and `_`: `eu-central-1`");
    }
    Ok(text.to_owned())
}
