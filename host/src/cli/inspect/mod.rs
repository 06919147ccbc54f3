//! `wasmill inspect`: what a component is, what its config takes, and what it agrees to do with
//! given columns.

mod config_keys;

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use serde_json::{Value, json};

use self::config_keys::Key;
use super::subject::SubjectArgs;
use super::subject::{Subject, columns};
use super::terminal;
use crate::guest::{AggregateContract, Description, Kind, OutputColumn, TransformContract};
use crate::schema::{Field, Schema};

/// Characters of a line of names.
const LINE_CHARS: usize = 76;

/// What `wasmill inspect` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        wasmill inspect target/guests/currency.wasm\n  \
        wasmill inspect target/guests/totals.wasm --schema 'amount: decimal(2)' \\\n    \
            --config '{\"column\": \"amount\"}'\n  \
        wasmill inspect --stage sales --pipeline pipeline.toml --json\n\n\
        The contract depends on columns and config, so it is shown where these are given.")]
pub(super) struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints what the component is.
///
/// # Errors
///
/// When it is no component, or does not take these columns and this config.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let subject = args.subject.open()?;
    let description = subject.component.describe()?;
    let contract = match &subject.input {
        Some(input) => Some(Contract::of(&subject, input)?),
        None => None,
    };
    let bytes = fs::metadata(&subject.path)
        .with_context(|| format!("failed to read {}", subject.path.display()))?
        .len();
    let text = if args.json {
        let all = as_json(&subject, &description, bytes, contract.as_ref());
        format!("{all:#}\n")
    } else {
        as_text(&subject, &description, bytes, contract.as_ref())
    };
    terminal::print(&text)
}

/// What the component agrees to do.
enum Contract {
    Transform(TransformContract),
    Aggregate(AggregateContract),
}

impl Contract {
    fn of(subject: &Subject, input: &Schema) -> anyhow::Result<Self> {
        let Subject {
            component,
            stage,
            config,
            limits,
            ..
        } = subject;
        Ok(match component.kind() {
            Kind::Transform => {
                let guest = component.transform(stage, input, config, limits)?;
                Self::Transform(guest.contract().clone())
            }
            Kind::Aggregate => {
                let guest = component.aggregate(stage, input, config, limits)?;
                Self::Aggregate(guest.contract().clone())
            }
        })
    }

    /// Lists of columns with what they are: those that the guest gets first.
    fn lists(&self, input: &Schema) -> Vec<(&'static str, Vec<Field>)> {
        let fields = |indices: &[usize]| {
            let field = |&index: &usize| input.fields()[index].clone();
            indices.iter().map(field).collect()
        };
        match self {
            Self::Transform(contract) => vec![
                ("needs", fields(&contract.needs)),
                ("returns", contract.returns.clone()),
                ("drops", dropped(contract, input)),
                ("output", contract.output.fields().to_vec()),
            ],
            Self::Aggregate(contract) => vec![
                ("needs", fields(&contract.needs)),
                ("state", contract.state.fields().to_vec()),
                ("output", contract.output.fields().to_vec()),
            ],
        }
    }
}

/// The input columns that are not in the output, under their own name or at all.
fn dropped(contract: &TransformContract, input: &Schema) -> Vec<Field> {
    let stays = |index: usize, field: &Field| {
        contract.sources.contains(&OutputColumn::Kept(index))
            || contract.output.index_of(&field.name).is_some()
    };
    let fields = input.fields().iter().enumerate();
    fields
        .filter(|(index, field)| !stays(*index, field))
        .map(|(_, field)| field.clone())
        .collect()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Transform => "transform",
        Kind::Aggregate => "aggregate",
    }
}

fn as_text(
    subject: &Subject,
    description: &Description,
    bytes: u64,
    contract: Option<&Contract>,
) -> String {
    let component = &subject.component;
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:>12}  {}", terminal::printable(value));
    };
    line("component", &subject.path.display().to_string());
    line("kind", kind(component.kind()));
    line("name", &description.name);
    line("version", &description.version);
    line("about", &description.about);
    line("size", &size(bytes));
    line("sha256", component.digest());
    let imports = component.imports();
    if imports.is_empty() {
        line("imports", "nothing");
    } else {
        line(
            "imports",
            "of WASI, which the host stubs, with nothing behind it:",
        );
    }
    for names in filled(&imports) {
        line("", &names);
    }
    if let (Some(contract), Some(input)) = (contract, &subject.input) {
        if let Contract::Aggregate(contract) = contract {
            line("state", &format!("version {}", contract.state_version));
        }
        for (list, fields) in contract.lists(input) {
            let fields: Vec<String> = fields.iter().map(columns::show_field).collect();
            let nothing = fields.is_empty();
            line(list, if nothing { "nothing" } else { &fields[0] });
            for field in fields.iter().skip(1) {
                line("", field);
            }
        }
    }
    text.push('\n');
    text.push_str(&config_table(description));
    if contract.is_none() {
        text.push_str(
            "\nTo see its contract too, say which columns it reads (--schema) and its config.\n",
        );
    }
    text
}

fn config_table(description: &Description) -> String {
    let Some(schema) = &description.config_schema else {
        return "It says nothing of its config.\n".to_owned();
    };
    let keys = match serde_json::from_str::<Value>(schema) {
        Ok(schema) => config_keys::of(&schema),
        Err(error) => return format!("The schema of its config is no JSON: {error}\n"),
    };
    if keys.is_empty() {
        return "It takes no config.\n".to_owned();
    }
    let mut table = terminal::table();
    table.set_header(["config", "type", "default", "meaning"]);
    for key in keys {
        let Key {
            name,
            ty,
            default,
            required,
            about,
        } = key;
        let default = match default {
            Some(default) => default,
            None if required => "required".to_owned(),
            None => String::new(),
        };
        let cells = [name, ty, default, about].map(|text| terminal::printable(&text).into_owned());
        table.add_row(cells);
    }
    format!("{table}\n")
}

fn as_json(
    subject: &Subject,
    description: &Description,
    bytes: u64,
    contract: Option<&Contract>,
) -> Value {
    let component = &subject.component;
    let schema = description.config_schema.as_deref();
    let contract = contract
        .zip(subject.input.as_ref())
        .map(|(contract, input)| {
            let mut lists = serde_json::Map::new();
            lists.insert("input".to_owned(), json_fields(input.fields()));
            for (list, fields) in contract.lists(input) {
                lists.insert(list.to_owned(), json_fields(&fields));
            }
            match contract {
                Contract::Transform(contract) => {
                    lists.insert("selects".to_owned(), contract.selects.into())
                }
                Contract::Aggregate(contract) => {
                    lists.insert("state_version".to_owned(), contract.state_version.into())
                }
            };
            lists
        });
    json!({
        "component": subject.path.display().to_string(),
        "kind": kind(component.kind()),
        "name": description.name,
        "version": description.version,
        "about": description.about,
        "bytes": bytes,
        "sha256": component.digest(),
        "imports": component.imports(),
        "config_schema": schema.and_then(|text| serde_json::from_str::<Value>(text).ok()),
        "contract": contract,
    })
}

fn json_fields(fields: &[Field]) -> Value {
    let field = |field: &Field| json!({ "name": field.name, "type": field.ty.to_string(), "nullable": field.nullable });
    fields.iter().map(field).collect()
}

/// The names one after the other, as many as fit a line.
fn filled(names: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() + 2 <= LINE_CHARS => {
                line.push_str(", ");
                line.push_str(name);
            }
            _ => lines.push(name.clone()),
        }
    }
    lines
}

/// Bytes for a person: `61.2 KiB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_that_suits_them() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(62_669), "61.2 KiB");
        assert_eq!(size(5 << 20), "5.0 MiB");
    }
}
