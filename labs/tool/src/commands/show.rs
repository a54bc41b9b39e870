//! What the commands show while they work.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lab::boot::Event;
use lab::grade::{News, Setting};
use lab::job::Stop;
use lab::lab::Lab;
use lab::report::{BAD, GOOD, styled};

/// Whether colours can be seen on standard error, where what goes on is told.
pub fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How many characters fit into a line.
pub fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        console::Term::stdout()
            .size_checked()
            .map(|(_, columns)| usize::from(columns))
    };
    columns.or_else(terminal).unwrap_or(100).clamp(40, 120)
}

/// A bar on a terminal, and lines elsewhere, that tell how far grading is.
pub struct Bar {
    bar: ProgressBar,
    terminal: bool,
}

impl Bar {
    /// For a lab with so many `tests`.
    pub fn new(tests: usize) -> Arc<Self> {
        let terminal = std::io::stderr().is_terminal();
        // One step more, for the build.
        let bar = if terminal {
            ProgressBar::new(tests as u64 + 1)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("  {bar:24.green/dim} {pos}/{len} {elapsed:>4} {msg}")
            .map(|style| style.progress_chars("━━╌"));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Arc::new(Self { bar, terminal })
    }

    /// What somebody hears who grades.
    fn news(&self, news: &News<'_>) {
        match news {
            News::Step(step) => {
                if step.starts_with("booting the VM") {
                    self.bar.set_position(self.bar.position().max(1));
                }
                self.status(step);
            }
            News::Warning(line) => self.line(line),
            News::Test(Event::Begin(name)) => self.bar.set_message(name.clone()),
            News::Test(Event::Ok(name)) => self.ended(name, GOOD, "ok"),
            News::Test(Event::Fail(name, _)) => self.ended(name, BAD, "FAIL"),
            News::Test(Event::After(..) | Event::Book(_) | Event::Over) => {}
        }
    }

    fn status(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        if !self.terminal {
            anstream::eprintln!("{text}");
        }
    }

    fn ended(&self, name: &str, style: anstyle::Style, word: &str) {
        // The book's cases are one row together.
        if !name.contains('/') {
            self.bar.inc(1);
            self.line(&format!("  {} {name}", styled(style, word)));
        }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            let text = if has_colours() {
                text.to_owned()
            } else {
                lab::report::plain(text)
            };
            self.bar.println(text);
        } else {
            anstream::eprintln!("{text}");
        }
    }

    /// Prints something of more than a line, above the bar.
    pub fn above(&self, text: &str) {
        self.bar.suspend(|| anstream::print!("{text}"));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How somebody grades who sits at a terminal.
pub fn setting(stop: &Stop, bar: &Arc<Bar>) -> Setting {
    let bar = Arc::clone(bar);
    Setting {
        stop: stop.clone(),
        colours: has_colours(),
        listener: Arc::new(move |news| bar.news(news)),
        ..Setting::default()
    }
}

/// Ten characters that show how many of its points somebody has.
pub fn small_bar(lab: &Lab, points: u32) -> String {
    let all = lab.points().max(1);
    let full = (points * 10 / all).min(10) as usize;
    format!(
        "{}{}",
        styled(GOOD, "━".repeat(full)),
        styled(lab::report::DIM, "╌".repeat(10 - full))
    )
}

/// A program that lies where make builds it.
pub fn needs_built(context: &crate::Context) -> lab::trouble::Result<()> {
    lab::system::keep_the_books(&context.course)
}
