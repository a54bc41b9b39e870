//! What is wrong with a book, and where.

use crate::source::{Book, Place};

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Nothing closes a fence.
    UnterminatedFence,
    /// An info string with `file=` or `#` that cannot be read.
    BadHeader,
    /// Two fences define one fragment.
    DefinedTwice,
    /// Two fences open one file.
    FileTwice,
    /// `+=` without anything to add to.
    AppendToNothing,
    /// `:=` without anything to replace.
    OverrideOfNothing,
    /// `<<name>>` where no fragment has that name.
    UndefinedFragment,
    /// A fragment that nothing refers to.
    UnusedFragment,
    /// A fragment that contains itself.
    CyclicFragment,
    /// A fragment that becomes more text than any program has.
    TooLarge,
    /// `<<name>>` with something else on its line.
    ReferenceNotAlone,
    /// A path that leads out of the output directory, or is no path.
    BadPath,
    /// One file's path is another one's directory.
    PathInPath,
    /// A lab without the form of one.
    BadLab,
    /// A fragment with a bracket that another one opens or closes.
    UnbalancedFragment,
    /// A fragment that is nothing but a reference to another one.
    OnlyAName,
    /// Two fragments with nothing said between them.
    NothingSaid,
    /// A part of a fragment that the same chapter replaces.
    SaidInVain,
    /// A fence with a line in it that would open another one.
    FenceInFence,
}

impl Code {
    /// The name that is shown in brackets and stands in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnterminatedFence => "unterminated-fence",
            Self::BadHeader => "bad-header",
            Self::DefinedTwice => "defined-twice",
            Self::FileTwice => "file-twice",
            Self::AppendToNothing => "append-to-nothing",
            Self::OverrideOfNothing => "override-of-nothing",
            Self::UndefinedFragment => "undefined-fragment",
            Self::UnusedFragment => "unused-fragment",
            Self::CyclicFragment => "cyclic-fragment",
            Self::TooLarge => "too-large",
            Self::ReferenceNotAlone => "reference-not-alone",
            Self::BadPath => "bad-path",
            Self::PathInPath => "path-in-path",
            Self::BadLab => "bad-lab",
            Self::UnbalancedFragment => "unbalanced-fragment",
            Self::OnlyAName => "only-a-name",
            Self::NothingSaid => "nothing-said",
            Self::SaidInVain => "said-in-vain",
            Self::FenceInFence => "fence-in-fence",
        }
    }

    /// Whether it is a mistake at all, or says only that the book could be read more easily.
    #[must_use]
    pub fn is_advice(self) -> bool {
        matches!(
            self,
            Self::UnbalancedFragment | Self::OnlyAName | Self::NothingSaid | Self::SaidInVain | Self::FenceInFence
        )
    }

    /// `error` or `warning`.
    #[must_use]
    pub fn level(self) -> &'static str {
        if self.is_advice() { "warning" } else { "error" }
    }
}

/// A place and what it has to do with the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// A few words to stand beside the underline.
    pub text: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where it is wrong.
    pub primary: Label,
    /// The other places that one must see to understand it.
    pub secondary: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at one place.
    pub fn new(code: Code, message: impl Into<String>, place: Place, label: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            primary: Label {
                place,
                text: label.into(),
            },
            secondary: Vec::new(),
            help: None,
        }
    }

    /// Adds another place.
    #[must_use]
    pub fn with(mut self, place: Place, label: impl Into<String>) -> Self {
        self.secondary.push(Label {
            place,
            text: label.into(),
        });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: source lines with underlines.
    #[default]
    Human,
    /// The same with colours.
    Color,
    /// For programs: one JSON object on a line each, shaped like rustc's.
    Json,
}

/// Writes all `diagnostics` in `format`.
///
/// ```
/// use tangle::diagnostic::{Format, render};
/// use tangle::source::Book;
///
/// let book = Book::new([("one.md", "~~~rust file=a.rs\n<<greet>>\n~~~\n")]);
/// let mistakes = tangle::program(&book).expect_err("nothing is called `greet`");
/// let shown = render(&book, &mistakes, Format::Human);
/// assert!(shown.starts_with("error[undefined-fragment]: no fragment is called `greet`\n --> one.md:2:1\n"));
/// ```
#[must_use]
pub fn render(book: &Book, diagnostics: &[Diagnostic], format: Format) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        match format {
            Format::Human | Format::Color => {
                out.push_str(&human::render(book, diagnostic, format == Format::Color));
                out.push_str("\n\n");
            }
            Format::Json => {
                out.push_str(&json::render(book, diagnostic));
                out.push('\n');
            }
        }
    }
    out
}

mod human {
    use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

    use super::{Diagnostic, Label};
    use crate::source::Book;

    pub(super) fn render(book: &Book, diagnostic: &Diagnostic, color: bool) -> String {
        let level = if diagnostic.code.is_advice() {
            Level::WARNING
        } else {
            Level::ERROR
        };
        let title = level
            .primary_title(diagnostic.message.as_str())
            .id(diagnostic.code.name());
        // One snippet for each chapter, the primary one first.
        let mut rest: Vec<(&Label, AnnotationKind)> = std::iter::once((&diagnostic.primary, AnnotationKind::Primary))
            .chain(
                diagnostic
                    .secondary
                    .iter()
                    .map(|label| (label, AnnotationKind::Context)),
            )
            .collect();
        let mut snippets = Vec::new();
        while let Some((first, _)) = rest.first() {
            let chapter = first.place.source;
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(label, _)| label.place.source == chapter);
            rest = elsewhere;
            let source = &book.sources[chapter];
            snippets.push(
                Snippet::source(source.text()).path(source.path()).annotations(
                    here.into_iter()
                        .map(|(label, kind)| kind.span(label.place.range.clone()).label(label.text.as_str())),
                ),
            );
        }
        let mut group = title.elements(snippets);
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

mod json {
    use serde::Serialize;

    use super::{Diagnostic, Format, Label};
    use crate::source::Book;

    #[derive(Serialize)]
    struct Record<'a> {
        #[serde(rename = "$message_type")]
        message_type: &'static str,
        level: &'static str,
        code: Code,
        message: &'a str,
        spans: Vec<Span<'a>>,
        children: Vec<Child<'a>>,
        rendered: String,
    }

    #[derive(Serialize)]
    struct Code {
        code: &'static str,
    }

    #[derive(Serialize)]
    struct Child<'a> {
        level: &'static str,
        message: &'a str,
    }

    #[derive(Serialize)]
    struct Span<'a> {
        file_name: &'a str,
        byte_start: usize,
        byte_end: usize,
        line_start: usize,
        line_end: usize,
        column_start: usize,
        column_end: usize,
        is_primary: bool,
        label: &'a str,
    }

    pub(super) fn render(book: &Book, diagnostic: &Diagnostic) -> String {
        let record = Record {
            message_type: "diagnostic",
            level: diagnostic.code.level(),
            code: Code {
                code: diagnostic.code.name(),
            },
            message: &diagnostic.message,
            spans: std::iter::once((&diagnostic.primary, true))
                .chain(diagnostic.secondary.iter().map(|label| (label, false)))
                .map(|(label, primary)| span(book, label, primary))
                .collect(),
            children: diagnostic
                .help
                .iter()
                .map(|help| Child {
                    level: "help",
                    message: help,
                })
                .collect(),
            rendered: super::render(book, std::slice::from_ref(diagnostic), Format::Human),
        };
        serde_json::to_string(&record).expect("strings and numbers always serialize")
    }

    fn span<'a>(book: &'a Book, label: &'a Label, is_primary: bool) -> Span<'a> {
        let source = &book.sources[label.place.source];
        let (start, end) = (
            source.position(label.place.range.start),
            source.position(label.place.range.end),
        );
        Span {
            file_name: source.path(),
            byte_start: label.place.range.start,
            byte_end: label.place.range.end,
            line_start: start.line,
            line_end: end.line,
            column_start: start.column,
            column_end: end.column,
            is_primary,
            label: &label.text,
        }
    }
}
