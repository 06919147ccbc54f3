//! `wasmill new`: a guest to start from, which builds and passes its own test as it is.
//!
//! The files stand in `templates/` as they are written, but for a few names in double braces. A guest
//! on the SDK depends on it by path, as it is on no registry: on that of the checkout of wasmill that it
//! lies in, or on a copy beside it, which this binary carries, so that the two always suit each other.

mod place;
mod sdk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use include_dir::{Dir, include_dir};

use self::place::Place;
use super::terminal;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/cli/new/templates");

/// The contract, for guests that do without the SDK.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

/// Ends the names of templates that tools would take for the real thing.
const TEMPLATE: &str = ".template";

/// A package cannot have the name of one that it depends on, or of what is always there.
const TAKEN: [&str; 11] = [
    "alloc",
    "core",
    "proc-macro",
    "schemars",
    "serde",
    "serde-json",
    "std",
    "test",
    "wasmill",
    "wasmill-guest",
    "wit-bindgen",
];

/// Words of the language; no library can be called so.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// What `wasmill new` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill new sale-size --kind transform\n  \
        wasmill new guests/largest --kind aggregate\n  \
        wasmill new sale-size --kind transform --plain\n\n\
        The guest has a test, sample rows with the output that they should give, and a README with the \
        commands that come next.")]
pub(super) struct Args {
    /// The folder to make; its last part is the name of the guest
    #[arg(value_name = "NAME")]
    folder: PathBuf,

    /// What the guest is
    #[arg(long, value_enum)]
    kind: Kind,

    /// Without the SDK: `wit-bindgen` and the WIT files of the contract
    #[arg(long)]
    plain: bool,

    /// Depend on the SDK in this folder [default: that of the checkout around, or a copy beside]
    #[arg(long, value_name = "FOLDER", conflicts_with = "plain")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// rows to rows: enrich, convert, filter, check
    Transform,
    /// groups of rows to values: sums, counts, the largest
    Aggregate,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Aggregate => "aggregate",
        }
    }
}

/// Makes the guest.
///
/// # Errors
///
/// When the name is none, the folder is there, or something cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = std::path::absolute(&args.folder).context("failed to find the folder")?;
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.context("the name of a guest is text")?.to_owned();
    check_name(&name)?;
    if folder.exists() {
        bail!(
            "{} is there already: choose another name",
            args.folder.display()
        );
    }
    let parent = folder.parent().context("a folder lies in another one")?;
    fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
    // Without links, so that paths from one folder to another are right.
    let parent =
        fs::canonicalize(parent).with_context(|| format!("failed to find {}", parent.display()))?;
    let folder = parent.join(&name);

    let sdk = if args.plain {
        None
    } else {
        Some(sdk::provide(&parent, args.sdk.as_deref())?)
    };
    let place = Place::of(&folder)?;
    let files = files(args, &name, &folder, sdk.as_deref(), &place)?;
    fs::create_dir(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    if let Err(error) = write(&folder, &files) {
        // Half a guest is of no use; the first error says more than whatever this meets.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    terminal::print(&next(args, &name, &place))
}

/// # Errors
///
/// When cargo would not take a package of this name.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_plain) {
        bail!(
            "`{name}` is no name of a guest: it has to begin with a letter, and to have only letters, \
             digits, `-` and `_`"
        );
    }
    if KEYWORDS.contains(&name) {
        bail!("`{name}` is a word of Rust, so no guest can be called so");
    }
    if TAKEN.contains(&name.replace('_', "-").as_str()) {
        bail!("`{name}` is the name of a library that guests use: choose another one");
    }
    Ok(())
}

/// The files of the guest, by their path in its folder.
fn files(
    args: &Args,
    name: &str,
    folder: &Path,
    sdk: Option<&Path>,
    place: &Place,
) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let component = place.component(name);
    let sdk = sdk.map(|sdk| place::relative(folder, sdk).display().to_string());
    let names = [
        ("{{name}}", name.to_owned()),
        ("{{component}}", component.display().to_string()),
        ("{{sdk}}", sdk.unwrap_or_default()),
        ("{{workspace}}", place.workspace_table().to_owned()),
    ];
    let variant = if args.plain { "plain" } else { "sdk" };
    let mut files = Vec::new();
    for part in ["rows", variant] {
        let part = format!("{}/{part}", args.kind.name());
        let templates = TEMPLATES
            .get_dir(&part)
            .context("every kind has its templates")?;
        collect(templates, templates.path(), &mut files);
    }
    for (_, contents) in &mut files {
        let text = String::from_utf8(std::mem::take(contents)).context("templates are text")?;
        let filled = names
            .iter()
            .fold(text, |text, (name, value)| text.replace(name, value));
        // Where there is nothing to say about a workspace, a line is left empty.
        *contents = format!("{}\n", filled.trim_end()).into_bytes();
    }
    if args.plain {
        let mut wit = Vec::new();
        collect(&WIT, WIT.path(), &mut wit);
        files.extend(
            wit.into_iter()
                .map(|(path, text)| (Path::new("wit").join(path), text)),
        );
    }
    files.push((".gitignore".into(), b"/target\n".to_vec()));
    Ok(files)
}

/// All files below a folder that the binary carries, with their paths from `base`.
fn collect(folder: &Dir<'_>, base: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for file in folder.files() {
        let path = file.path().strip_prefix(base).unwrap_or(file.path());
        let path = path.to_string_lossy();
        let path = path.strip_suffix(TEMPLATE).unwrap_or(&path);
        files.push((path.into(), file.contents().to_vec()));
    }
    for folder in folder.dirs() {
        collect(folder, base, files);
    }
}

fn write(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
    for (path, contents) in files {
        let path = folder.join(path);
        let parent = path.parent().context("a file lies in a folder")?;
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, contents))
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// What to do with the new guest.
fn next(args: &Args, name: &str, place: &Place) -> String {
    let component = place.component(name);
    let (kind, options) = match args.kind {
        Kind::Transform => ("transform", "--config-file config.json"),
        Kind::Aggregate => ("aggregate", "--key payment_method"),
    };
    format!(
        "made the {kind} `{name}` in {folder}\n\nnext:\n  \
           cd {folder}\n  \
           cargo test\n  \
           wasmill build\n  \
           wasmill test {component} --input rows.ndjson {options} --expect expected.ndjson\n\n\
         then change src/lib.rs; README.md says how it comes into a pipeline\n",
        folder = args.folder.display(),
        component = component.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_takes() {
        for name in ["a", "sale-size", "top_10", "Fx"] {
            check_name(name).unwrap();
        }
        for (name, reason) in [
            ("", "begin with a letter"),
            ("1st", "begin with a letter"),
            ("-a", "begin with a letter"),
            ("größe", "only letters"),
            ("a b", "only letters"),
            ("a.wasm", "only letters"),
            ("match", "a word of Rust"),
            ("serde_json", "a library that guests use"),
            ("core", "a library that guests use"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn every_kind_has_all_of_its_files_and_no_name_is_left_open() {
        let folder = Path::new("/home/me/sale-size");
        let place = Place::alone(folder);
        for (kind, plain) in [
            (Kind::Transform, false),
            (Kind::Transform, true),
            (Kind::Aggregate, false),
            (Kind::Aggregate, true),
        ] {
            let args = Args {
                folder: folder.to_owned(),
                kind,
                plain,
                sdk: None,
            };
            let sdk = (!plain).then(|| Path::new("/home/me/wasmill-guest"));
            let files = files(&args, "sale-size", folder, sdk, &place).unwrap();
            let paths: Vec<_> = files
                .iter()
                .map(|(path, _)| path.to_str().unwrap())
                .collect();
            for wanted in [
                "Cargo.toml",
                "README.md",
                "src/lib.rs",
                "rows.ndjson",
                "expected.ndjson",
            ] {
                assert!(paths.contains(&wanted), "{wanted} in {paths:?}");
            }
            assert_eq!(paths.contains(&"wit/guest.wit"), plain);
            for (path, text) in &files {
                let text = str::from_utf8(text).unwrap();
                assert!(!text.contains("{{"), "{}: {text}", path.display());
            }
        }
    }
}
