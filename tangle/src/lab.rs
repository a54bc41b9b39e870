//! Labs: chapters that somebody else is to finish.
//!
//! A lab comes after the whole book and changes it as any chapter may. What its reader is to write stands in it twice, between
//! comments that are alone on their lines:
//!
//! ```text
//! <!-- solution -->
//! the prose and the fragments that solve it
//! <!-- stub -->
//! what stands there at first
//! <!-- end -->
//! ```
//!
//! So it is two chapters in one ([`View`]): the starter, which is also what the page shows, and the solution. Besides, its
//! text has a form that tools can read ([`read`]): tasks with hints, questions, and a table of what is tested.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

use crate::diagnostic::{Code, Diagnostic};
use crate::source::{Place, Source};

/// Which of the two chapters a lab is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// The stubs stand, as in the page and in the chapter that a student begins with.
    #[default]
    Starter,
    /// The solutions stand.
    Solution,
}

/// The three comments.
const MARKS: [&str; 3] = ["<!-- solution -->", "<!-- stub -->", "<!-- end -->"];
/// What names the placeholder of an answer, and an answer that is none.
const PLACEHOLDER: &str = "Your answer";

/// Something in a lab that cannot be meant: where, and why.
pub type Fault = (Range<usize>, String);

/// A place where a reader writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The whole lines of the first comment.
    opening: Range<usize>,
    /// The lines between it and the next.
    pub solution: Range<usize>,
    /// The whole lines of the second.
    middle: Range<usize>,
    /// The lines between that and the last.
    pub stub: Range<usize>,
    /// The whole lines of the last.
    closing: Range<usize>,
}

impl Region {
    /// What is not part of the chapter in `view`.
    #[must_use]
    pub fn hidden(&self, view: View) -> [Range<usize>; 2] {
        match view {
            View::Starter => [self.opening.start..self.middle.end, self.closing.clone()],
            View::Solution => [self.opening.clone(), self.middle.start..self.closing.end],
        }
    }
}

/// Finds the places where a reader writes.
///
/// # Errors
/// Comments that are not in the order above.
pub fn regions(text: &str) -> Result<Vec<Region>, Vec<Fault>> {
    let mut regions = Vec::new();
    let mut faults = Vec::new();
    let mut open: Vec<Range<usize>> = Vec::new();
    for (event, range) in Parser::new_ext(text, crate::parse::options()).into_offset_iter() {
        let Event::Html(html) = event else { continue };
        let Some(mark) = MARKS.iter().position(|&mark| mark == html.trim()) else {
            continue;
        };
        let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at + 1);
        if mark != open.len() {
            let wanted = MARKS[open.len()];
            faults.push((range, format!("`{}` stands here, expected `{wanted}`", MARKS[mark])));
            open.clear();
            if mark != 0 {
                continue;
            }
        }
        open.push(start..end);
        if let [opening, middle, closing] = open.as_slice() {
            regions.push(Region {
                opening: opening.clone(),
                solution: opening.end..middle.start,
                middle: middle.clone(),
                stub: middle.end..closing.start,
                closing: closing.clone(),
            });
            open.clear();
        }
    }
    if let Some(first) = open.first() {
        faults.push((first.clone(), format!("no `{}` follows", MARKS[open.len()])));
    }
    if faults.is_empty() { Ok(regions) } else { Err(faults) }
}

/// The text in `view`, in which everything stays where it is: what is not part of it is blank.
///
/// # Errors
/// See [`regions`].
///
/// ```
/// use tangle::lab::{View, view};
///
/// let lab = "a\n\n<!-- solution -->\nb\n<!-- stub -->\nc\n<!-- end -->\n";
/// let starter = view(lab, View::Starter).unwrap();
/// assert_eq!(starter.len(), lab.len());
/// assert_eq!(starter.split_whitespace().collect::<String>(), "ac");
/// ```
pub fn view(text: &str, view: View) -> Result<String, Vec<Fault>> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for hidden in regions(text)?.iter().flat_map(|region| region.hidden(view)) {
        out.push_str(&text[done..hidden.start]);
        for byte in text[hidden.clone()].bytes() {
            out.push(if byte == b'\n' { '\n' } else { ' ' });
        }
        done = hidden.end;
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// The text in `view` as a chapter of its own, without a trace of the other.
///
/// # Errors
/// See [`regions`].
pub fn extract(text: &str, view: View) -> Result<String, Vec<Fault>> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for hidden in regions(text)?.iter().flat_map(|region| region.hidden(view)) {
        out.push_str(&text[done..hidden.start]);
        done = hidden.end;
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// The text without its solutions, in which a student could still find the stubs: a lab to be given away.
///
/// # Errors
/// See [`regions`].
pub fn without_solutions(text: &str) -> Result<String, Vec<Fault>> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for region in regions(text)? {
        out.push_str(&text[done..region.solution.start]);
        done = region.solution.end;
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// What a lab says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lab {
    /// `01` of `labs/01-name.md`.
    pub number: String,
    /// Its title, `Lab 1: ...`.
    pub title: String,
    /// How long it takes, in words.
    pub time: String,
    /// Which of the system's own tests must still pass.
    pub cases: String,
    /// What shows the finished thing.
    pub run: String,
    /// What there is to do.
    pub tasks: Vec<Task>,
    /// What there is to think about.
    pub questions: Vec<Question>,
    /// What is tested.
    pub tests: Vec<Test>,
}

/// One part of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its number, from 1.
    pub number: usize,
    /// Its title.
    pub title: String,
    /// From vague to nearly the code.
    pub hints: Vec<Hint>,
    /// Where it begins.
    pub place: Range<usize>,
}

/// Help that is folded away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// What it is about.
    pub title: String,
    /// What it says, as Markdown.
    pub text: String,
}

/// A question, and what somebody wrote below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub text: String,
    /// The answer; empty where only the placeholder stands.
    pub answer: String,
    /// Where it begins.
    pub place: Range<usize>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// What it is worth.
    pub points: u32,
    /// The task that it is about, if it is about one.
    pub task: Option<usize>,
    /// The tests without which it counts for nothing.
    pub after: Vec<String>,
    /// Its story.
    pub shows: String,
    /// Where it stands.
    pub place: Range<usize>,
}

impl Lab {
    /// The most that can be had.
    #[must_use]
    pub fn points(&self) -> u32 {
        self.tests.iter().map(|test| test.points).sum()
    }
}

/// The length of a lab's front matter, and what it says: `name: value` on each line between two of `---`.
#[must_use]
pub fn front_matter(text: &str) -> (usize, Vec<(&str, &str)>) {
    let Some(rest) = text.strip_prefix("---\n") else {
        return (0, Vec::new());
    };
    let Some(end) = rest.find("\n---\n") else {
        return (0, Vec::new());
    };
    let entries = rest[..end].lines().filter_map(|line| line.split_once(':'));
    (
        "---\n".len() + end + "\n---\n".len(),
        entries.map(|(name, value)| (name.trim(), value.trim())).collect(),
    )
}

/// `01` of `labs/01-name.md`; `None` if that is no lab's name.
#[must_use]
pub fn number(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (number, rest) = name.split_once('-')?;
    rest.strip_suffix(".md")?;
    (number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// Reads what a lab, or a student's chapter that began as one, says of itself, and finds what is wrong with its form.
#[must_use]
pub fn read(path: &str, text: &str) -> (Lab, Vec<Fault>) {
    let starter = match view(text, View::Starter) {
        Ok(starter) => starter,
        Err(faults) => return (Lab::default(), faults),
    };
    let (front, entries) = front_matter(&starter);
    let entry = |name: &str| {
        let found = entries.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| *value).to_owned()
    };
    let mut reader = Reader {
        text: &starter,
        lab: Lab {
            number: number(path).unwrap_or_default().to_owned(),
            time: entry("time"),
            cases: entry("cases"),
            run: entry("run"),
            ..Lab::default()
        },
        faults: Vec::new(),
    };
    let head = 0..front.max(1).min(text.len());
    for (name, _) in &entries {
        if !["time", "cases", "run"].contains(name) {
            let fault = format!("`{name}` says nothing here; `time`, `cases` and `run` do");
            reader.faults.push((head.clone(), fault));
        }
    }
    if reader.lab.time.is_empty() {
        let fault = "between two lines of `---` at its beginning a lab says how long it takes: `time: an hour`";
        reader.faults.push((head, fault.to_owned()));
    }
    reader.sections(front);
    reader.agree();
    (reader.lab, reader.faults)
}

/// The faults of a lab as they are shown, for the chapter that is number `source` of a book.
#[must_use]
pub fn diagnostics(source: usize, faults: Vec<Fault>) -> Vec<Diagnostic> {
    let shown = |(range, what): Fault| {
        let place = Place { source, range };
        Diagnostic::new(Code::BadLab, "this lab has not the form of one", place, what)
    };
    faults.into_iter().map(shown).collect()
}

/// Whether `source` is a lab that nobody has extracted anything from.
#[must_use]
pub fn has_regions(source: &Source) -> bool {
    regions(source.text()).map_or(true, |regions| !regions.is_empty())
}

/// Where in a lab the reader is.
struct Reader<'a> {
    text: &'a str,
    lab: Lab,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// Goes through the sections, each from its heading to the next of its kind.
    fn sections(&mut self, front: usize) {
        let mut headings: Vec<(HeadingLevel, String, Range<usize>)> = Vec::new();
        let mut inside = false;
        for (event, range) in Parser::new_ext(&self.text[front..], crate::parse::options()).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) if level <= HeadingLevel::H2 => {
                    headings.push((level, String::new(), range.start + front..range.end + front));
                    inside = true;
                }
                Event::End(TagEnd::Heading(_)) => inside = false,
                Event::Text(text) | Event::Code(text) if inside => {
                    if let Some((_, title, _)) = headings.last_mut() {
                        title.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        for (at, (level, title, place)) in headings.iter().enumerate() {
            let end = headings.get(at + 1).map_or(self.text.len(), |(_, _, next)| next.start);
            let body = place.end..end;
            if *level == HeadingLevel::H1 {
                self.lab.title.clone_from(title);
            } else if let Some(rest) = title.strip_prefix("Task ") {
                self.task(rest, place.clone(), body);
            } else if title == "Questions" {
                self.questions(body);
            } else if title == "How it is graded" {
                self.table(body);
            }
        }
        if self.lab.title.is_empty() {
            self.faults
                .push((front..front, "a lab has a title: `# Lab 1: ...`".to_owned()));
        }
    }

    fn task(&mut self, title: &str, place: Range<usize>, body: Range<usize>) {
        let expected = self.lab.tasks.len() + 1;
        let Some((number, title)) = title
            .split_once(':')
            .filter(|(number, _)| *number == expected.to_string())
        else {
            let fault = format!("expected `Task {expected}: ` and a title");
            self.faults.push((place, fault));
            return;
        };
        let mut task = Task {
            number: number.parse().unwrap_or(expected),
            title: title.trim().to_owned(),
            hints: Vec::new(),
            place,
        };
        let mut rest = &self.text[body];
        while let Some(at) = rest.find("<details><summary>Hint ") {
            let hint = &rest[at + "<details><summary>Hint ".len()..];
            let (Some(summary), Some(end)) = (hint.find("</summary>"), hint.find("</details>")) else {
                let fault = "a hint of this task has no end".to_owned();
                self.faults.push((task.place.clone(), fault));
                break;
            };
            let expected = format!("{}: ", task.hints.len() + 1);
            match hint[..summary].strip_prefix(&expected) {
                Some(title) => task.hints.push(Hint {
                    title: title.trim().to_owned(),
                    text: hint
                        .get(summary + "</summary>".len()..end)
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                }),
                None => self.faults.push((
                    task.place.clone(),
                    format!("a hint begins with `<details><summary>Hint {expected}` and what it is about"),
                )),
            }
            rest = &hint[end..];
        }
        self.lab.tasks.push(task);
    }

    fn questions(&mut self, body: Range<usize>) {
        let mut depth = 0;
        let mut paragraphs = 0;
        for (event, range) in Parser::new_ext(&self.text[body.clone()], crate::parse::options()).into_offset_iter() {
            match event {
                Event::Start(Tag::List(_)) => depth += 1,
                Event::End(TagEnd::List(_)) => depth -= 1,
                Event::Start(Tag::Item) if depth == 1 => {
                    paragraphs = 0;
                    self.lab.questions.push(Question {
                        text: String::new(),
                        answer: String::new(),
                        place: range.start + body.start..range.end + body.start,
                    });
                }
                // Whatever follows what is asked is an answer.
                Event::End(TagEnd::Paragraph)
                | Event::Start(Tag::BlockQuote(_) | Tag::Paragraph | Tag::CodeBlock(_))
                    if depth >= 1 =>
                {
                    if let Some(question) = self.lab.questions.last_mut() {
                        if !question.text.is_empty() {
                            paragraphs += 1;
                        }
                        question.answer.push(' ');
                    }
                }
                Event::Text(text) | Event::Code(text) if depth >= 1 => {
                    if let Some(question) = self.lab.questions.last_mut() {
                        let part = if paragraphs == 0 {
                            &mut question.text
                        } else {
                            &mut question.answer
                        };
                        part.push_str(&text);
                    }
                }
                Event::SoftBreak | Event::HardBreak if depth >= 1 => {
                    if let Some(question) = self.lab.questions.last_mut() {
                        let part = if paragraphs == 0 {
                            &mut question.text
                        } else {
                            &mut question.answer
                        };
                        part.push(' ');
                    }
                }
                _ => {}
            }
        }
        for question in &mut self.lab.questions {
            question.answer = question.answer.trim().to_owned();
            if question.answer.trim_end_matches('.') == PLACEHOLDER {
                question.answer.clear();
            }
        }
    }

    fn table(&mut self, body: Range<usize>) {
        let mut header = true;
        let mut row: Vec<String> = Vec::new();
        let mut codes: Vec<Vec<String>> = Vec::new();
        for (event, range) in Parser::new_ext(&self.text[body.clone()], crate::parse::options()).into_offset_iter() {
            match event {
                Event::Start(Tag::TableHead) => header = true,
                Event::End(TagEnd::TableHead) => header = false,
                Event::Start(Tag::TableRow) => {
                    row.clear();
                    codes.clear();
                }
                Event::Start(Tag::TableCell) => {
                    row.push(String::new());
                    codes.push(Vec::new());
                }
                Event::Text(text) if !header => row.iter_mut().last().into_iter().for_each(|cell| cell.push_str(&text)),
                Event::Code(text) if !header => {
                    row.iter_mut().last().into_iter().for_each(|cell| cell.push_str(&text));
                    codes
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|cell| cell.push(text.to_string()));
                }
                Event::End(TagEnd::TableRow) => {
                    self.row(&row, &codes, range.start + body.start..range.end + body.start);
                }
                _ => {}
            }
        }
    }

    fn row(&mut self, row: &[String], codes: &[Vec<String>], place: Range<usize>) {
        let ([_, points, task, _, shows], [name, _, _, after, _]) = (row, codes) else {
            let fault = "expected five columns: Test, Points, Task, After, What it shows".to_owned();
            self.faults.push((place, fault));
            return;
        };
        let (Ok(points), [name]) = (points.trim().parse(), name.as_slice()) else {
            let fault = "expected a test's `name`, and its points".to_owned();
            self.faults.push((place, fault));
            return;
        };
        let task = task.trim();
        if !task.is_empty() && task.parse::<usize>().is_err() {
            self.faults
                .push((place.clone(), format!("`{task}` is no task's number")));
        }
        self.lab.tests.push(Test {
            name: name.clone(),
            points,
            task: task.parse().ok(),
            after: after.clone(),
            shows: shows.trim().to_owned(),
            place,
        });
    }

    /// Do its parts speak of each other?
    fn agree(&mut self) {
        let lab = &self.lab;
        if lab.tests.is_empty() {
            let fault = "a lab has a section `## How it is graded` with a table of its tests".to_owned();
            self.faults.push((0..0, fault));
        }
        for (at, test) in lab.tests.iter().enumerate() {
            let before = &lab.tests[..at];
            if before.iter().any(|other| other.name == test.name) {
                self.faults
                    .push((test.place.clone(), format!("there are two tests `{}`", test.name)));
            }
            for after in &test.after {
                if !before.iter().any(|other| other.name == *after) {
                    let fault = format!("`{after}` is no test that stands above `{}`", test.name);
                    self.faults.push((test.place.clone(), fault));
                }
            }
            if let Some(task) = test.task
                && (task == 0 || task > lab.tasks.len())
            {
                self.faults
                    .push((test.place.clone(), format!("there is no task {task}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "---\ntime: an hour\ncases: a/ b\n---\n# Lab 1: One\n\nText.\n\n## Task 1: Do it\n\nWrite.\n\n\
        <!-- solution -->\nDone:\n\n```c #a +=\nsolved\n```\n<!-- stub -->\nHere.\n\n```c #a +=\nstub\n```\n<!-- end -->\n\n\
        <details><summary>Hint 1: where</summary>\n\nThere.\n</details>\n\n## Questions\n\n1. Why\n   so?\n\n\
        \u{20}  <!-- solution -->\n   > Because.\n   <!-- stub -->\n   > *Your answer.*\n   <!-- end -->\n\n\
        2. And?\n\n   > I know\n   > that.\n\n## How it is graded\n\n| Test | Points | Task | After | What it shows |\n\
        |---|---:|---:|---|---|\n| `works` | 7 | 1 | | It works. |\n| `the book` | 3 | | `works` | As `before`. |\n";

    #[test]
    fn it_is_two_chapters() {
        for (wanted, there, gone) in [(View::Starter, "stub", "solved"), (View::Solution, "solved", "stub")] {
            let kept = view(LAB, wanted).unwrap();
            assert_eq!(kept.len(), LAB.len());
            assert!(LAB.bytes().zip(kept.bytes()).all(|(a, b)| a == b || b == b' '));
            let extracted = extract(LAB, wanted).unwrap();
            for text in [&kept, &extracted] {
                assert!(
                    text.contains(there) && !text.contains(gone) && !text.contains("<!--"),
                    "{text}"
                );
            }
            assert_eq!(
                kept.split_whitespace().collect::<Vec<_>>(),
                extracted.split_whitespace().collect::<Vec<_>>()
            );
        }
        let handout = without_solutions(LAB).unwrap();
        assert!(!handout.contains("solved") && !handout.contains("Because"));
        assert_eq!(extract(&handout, View::Starter), extract(LAB, View::Starter));
    }

    #[test]
    fn comments_in_code_are_code() {
        let text = "```\n<!-- solution -->\n```\n";
        assert_eq!(regions(text), Ok(Vec::new()));
        assert_eq!(extract(text, View::Solution).unwrap(), text);
    }

    #[test]
    fn comments_out_of_order_are_told() {
        for text in [
            "<!-- stub -->\n",
            "<!-- solution -->\n\n<!-- end -->\n",
            "<!-- solution -->\n\n<!-- stub -->\n",
            "<!-- solution -->\n\n<!-- solution -->\n\n<!-- stub -->\n\n<!-- end -->\n",
        ] {
            assert!(regions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_says_what_it_is() {
        let (lab, faults) = read("labs/01-one.md", LAB);
        assert_eq!(faults, []);
        assert_eq!(
            (lab.number.as_str(), lab.title.as_str(), lab.time.as_str()),
            ("01", "Lab 1: One", "an hour")
        );
        assert_eq!(lab.cases, "a/ b");
        assert_eq!(lab.tasks.len(), 1);
        assert_eq!(
            (lab.tasks[0].title.as_str(), lab.tasks[0].hints[0].text.as_str()),
            ("Do it", "There.")
        );
        let asked: Vec<_> = lab
            .questions
            .iter()
            .map(|one| (one.text.trim(), one.answer.as_str()))
            .collect();
        assert_eq!(asked, [("Why so?", ""), ("And?", "I know that.")]);
        let tests: Vec<_> = lab
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test.points, test.task))
            .collect();
        assert_eq!(tests, [("works", 7, Some(1)), ("the book", 3, None)]);
        assert_eq!(lab.tests[1].after, ["works"]);
        assert_eq!(lab.tests[1].shows, "As before.");
        assert_eq!(lab.points(), 10);
    }

    #[test]
    fn parts_that_do_not_agree_are_told() {
        for (from, to) in [
            ("| 7 | 1 |", "| 7 | 2 |"),
            ("| 7 | 1 |", "| many | 1 |"),
            ("`works` | As", "`else` | As"),
            ("`the book` | 3", "`works` | 3"),
            ("Task 1", "Task 2"),
            ("Hint 1", "Hint 2"),
            ("time: an hour", "tme: an hour"),
            ("# Lab 1: One\n", ""),
            ("## How it is graded", "## How"),
        ] {
            let text = LAB.replace(from, to);
            let (_, faults) = read("labs/01-one.md", &text);
            assert!(!faults.is_empty(), "{to}");
        }
    }

    #[test]
    fn numbers_have_two_digits() {
        assert_eq!(number("labs/01-one.md"), Some("01"));
        for other in [
            "labs/README.md",
            "labs/1-one.md",
            "labs/01.md",
            "labs/ab-c.md",
            "labs/01-one.txt",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
