//! Mistakes in a pipeline, with their places, and how they are shown.
//!
//! Reports look like a compiler's: what is wrong, the line with the place underlined, what to do.

use std::fmt;
use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::Span;

/// Columns that a report takes at most.
const WIDTH: usize = 100;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// It can, but is probably not what was meant.
    Warning,
}

/// One thing that is wrong with a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// how bad it is
    pub severity: Severity,
    /// what is wrong: lowercase, one sentence without a full stop
    pub message: String,
    /// where, in the text of the file
    pub span: Option<Span>,
    /// what to say under that place
    pub label: Option<String>,
    /// a second place that explains the first, with what to say there
    pub also: Option<(Span, String)>,
    /// what to do about it
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with this message.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A warning with this message.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self {
            severity,
            message,
            span: None,
            label: None,
            also: None,
            help: None,
        }
    }

    /// Points at a place in the file.
    #[must_use]
    pub fn at(mut self, span: &Span) -> Self {
        self.span = Some(span.clone());
        self
    }

    /// Says something under that place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says something under that place, where there is something to say.
    #[must_use]
    pub fn label_if(mut self, label: Option<String>) -> Self {
        self.label = label;
        self
    }

    /// Points at a second place that explains the first.
    #[must_use]
    pub fn also(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.also = Some((span.clone(), label.into()));
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What the TOML parser complains about.
pub(super) fn syntax(error: &toml::de::Error) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("this is not TOML: {}", error.message()));
    match error.span() {
        Some(span) => diagnostic.at(&span),
        None => diagnostic,
    }
}

/// How a report is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// ASCII, for logs and pipes
    Plain,
    /// lines drawn with Unicode, no colours
    Drawn,
    /// the same with colours
    Coloured,
}

impl Look {
    /// What suits stderr: plain unless it is a terminal, and no colours where `NO_COLOR` is set.
    #[must_use]
    pub fn of_stderr() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match (std::io::stderr().is_terminal(), no_color) {
            (false, _) => Self::Plain,
            (true, true) => Self::Drawn,
            (true, false) => Self::Coloured,
        }
    }

    fn theme(self) -> GraphicalTheme {
        match self {
            Self::Plain => {
                let mut theme = GraphicalTheme::none();
                "error:".clone_into(&mut theme.characters.error);
                "warning:".clone_into(&mut theme.characters.warning);
                theme
            }
            Self::Drawn => GraphicalTheme::unicode_nocolor(),
            Self::Coloured => GraphicalTheme::unicode(),
        }
    }
}

/// All that is wrong with one file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    file_name: String,
    /// the file as it may be quoted, secrets starred out
    text: String,
    entries: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Nothing wrong yet with this file. `text` is quoted in reports and must hold no secret.
    pub(super) fn new(file_name: &str, text: String) -> Self {
        Self {
            file_name: file_name.to_owned(),
            text,
            entries: Vec::new(),
        }
    }

    /// Adds one. Its message must quote nothing that is secret.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.entries.push(diagnostic);
    }

    /// What was found, in the order in which it was.
    #[must_use]
    pub fn entries(&self) -> &[Diagnostic] {
        &self.entries
    }

    /// Whether there is anything to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the pipeline cannot run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// What the file is called in reports.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// Line and column of its place, counted in characters from 1 on; `None` where it has none.
    #[must_use]
    pub fn line_and_column(&self, entry: &Diagnostic) -> Option<(usize, usize)> {
        let start = self.within_text(entry.span.as_ref()?).start;
        let before = &self.text[..start];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let lines = before.matches('\n').count() + 1;
        Some((lines, before[line..].chars().count() + 1))
    }

    /// How many there are, for a last line: `pipeline.toml has 2 errors and 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = |severity, word| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {word}")),
            count => Some(format!("{count} {word}s")),
        };
        let counts: Vec<String> = [
            counted(Severity::Error, "error"),
            counted(Severity::Warning, "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        match counts.as_slice() {
            [] => format!("{} is fine", self.file_name),
            counts => format!("{} has {}", self.file_name, counts.join(" and ")),
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.severity == severity)
            .count()
    }

    /// All reports, in the order of the file, each with an empty line behind it.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let handler = GraphicalReportHandler::new_themed(look.theme())
            .with_width(WIDTH)
            .with_links(false)
            .with_break_words(false);
        let source = NamedSource::new(&self.file_name, self.text.clone());
        let mut in_order: Vec<&Diagnostic> = self.entries.iter().collect();
        in_order.sort_by_key(|entry| entry.span.as_ref().map_or(usize::MAX, |span| span.start));

        let mut rendered = String::new();
        for entry in in_order {
            let report = self.report(entry, &source);
            if handler.render_report(&mut rendered, &report).is_err() {
                // Its place cannot be drawn; what it says can.
                rendered.push_str(&report.message);
                rendered.push('\n');
            }
            rendered.push('\n');
        }
        rendered
    }

    fn report<'a>(&self, entry: &'a Diagnostic, source: &'a NamedSource<String>) -> Report<'a> {
        let message = match &entry.span {
            Some(_) => entry.message.clone(),
            None => format!("{}: {}", self.file_name, entry.message),
        };
        let mut labels = Vec::new();
        if let Some(span) = &entry.span {
            let span = self.within_text(span);
            labels.push(LabeledSpan::new_primary_with_span(
                entry.label.clone(),
                span,
            ));
        }
        if let Some((span, label)) = &entry.also {
            let span = self.within_text(span);
            labels.push(LabeledSpan::new_with_span(Some(label.clone()), span));
        }
        Report {
            entry,
            message,
            labels,
            source,
        }
    }

    /// The span, made to end on characters that the text has.
    fn within_text(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        start..end
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}

impl std::error::Error for Diagnostics {}

/// A [`Diagnostic`] as miette wants it.
#[derive(Debug)]
struct Report<'a> {
    entry: &'a Diagnostic,
    message: String,
    labels: Vec<LabeledSpan>,
    source: &'a NamedSource<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.entry.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.entry.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}
