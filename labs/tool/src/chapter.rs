//! What a student's chapter is worth as a chapter: is every fragment explained, is it easy to read, are the questions answered?
//!
//! A student's own words are those that the starter does not have at that place. Whether they are good ones is for a teacher to
//! say; that there are none, anybody can see.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use tangle::diagnostic::{self, Format};
use tangle::parse::{self, Fence};
use tangle::source::Source;
use tangle::{advice, diff};

use crate::lab::{Lab, View};
use crate::system::Extended;

/// So many words of one's own explain a fragment, at least: a short sentence.
pub const WORDS_BEFORE_A_FRAGMENT: usize = 5;
/// So many answer a question.
pub const WORDS_OF_AN_ANSWER: usize = 10;
/// Of those so many are not the same word again.
const DIFFERENT_WORDS: usize = 4;

/// What can be said of a chapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prose {
    /// How many fragments are new, or other than in the starter.
    pub fragments: usize,
    /// Those before which too little is said.
    pub unexplained: Vec<Unexplained>,
    /// The questions, from 1, that are not answered, each with how many words there are.
    pub unanswered: Vec<(usize, usize)>,
    /// What `tangle check --strict` has to say, in full.
    pub advice: Vec<String>,
}

/// A fragment before which too little is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexplained {
    /// The line of its first backticks.
    pub line: usize,
    /// What it is called.
    pub title: String,
    /// How many words of the student's own stand before it.
    pub words: usize,
}

/// Reads the last chapter of `with`, which a student made of the lab's starter.
#[must_use]
pub fn read(lab: &Lab, with: &Extended) -> Prose {
    let model = &with.program.model;
    let Some(source) = with.book.sources.last() else {
        return Prose::default();
    };
    let last = with.book.sources.len() - 1;
    let fences: Vec<&Fence> = model
        .pieces
        .iter()
        .filter(|piece| piece.source == last)
        .map(|piece| &piece.fence)
        .collect();
    let starter = Source::new(lab.path.as_str(), lab.extract(View::Starter));
    let known: HashSet<Shape> = parse::parse(&starter, with.book.dialect)
        .fences
        .iter()
        .map(shape)
        .collect();
    let own = Own::find(starter.text(), source.text());
    let mut prose = Prose::default();
    let mut from = 0;
    let mut said = HashSet::new();
    // Folded code is plumbing, of which the book, too, need say nothing. A chapter is not all plumbing.
    let own_lines = |folded: bool| -> usize {
        let own = fences.iter().filter(|fence| !known.contains(&shape(fence)));
        own.filter(|fence| fence.header.folded == folded)
            .map(|fence| fence.len())
            .sum()
    };
    let may_fold = own_lines(true) <= own_lines(false);
    for fence in fences {
        if fence.header.folded && may_fold {
            prose.fragments += usize::from(!known.contains(&shape(fence)));
            continue;
        }
        if !known.contains(&shape(fence)) {
            prose.fragments += 1;
            let words = own.between(from..fence.range.start, &mut said);
            if words < WORDS_BEFORE_A_FRAGMENT {
                prose.unexplained.push(Unexplained {
                    line: source.line(fence.range.start),
                    title: title(fence),
                    words,
                });
            }
        }
        from = fence.range.end;
    }
    prose.unanswered = unanswered(lab, source);
    prose.advice = advice::advice(&with.book, model)
        .into_iter()
        .filter(|one| one.primary.place.source == last)
        .map(|one| {
            diagnostic::render(&with.book, &[one], Format::Color)
                .trim_end()
                .to_owned()
        })
        .collect();
    prose
}

/// What makes a fragment another one.
type Shape = (Option<String>, Option<String>, &'static str, String);

fn shape(fence: &Fence) -> Shape {
    let header = &fence.header;
    (
        header.name.clone(),
        header.path.clone(),
        header.operation.symbol(),
        fence.code(),
    )
}

fn title(fence: &Fence) -> String {
    let header = &fence.header;
    match (&header.name, &header.path) {
        (Some(name), _) => format!("#{name}"),
        (None, path) => path.clone().unwrap_or_default(),
    }
}

/// The questions without an answer.
fn unanswered(lab: &Lab, source: &Source) -> Vec<(usize, usize)> {
    let (written, _) = tangle::lab::read(source.path(), source.text());
    let plain = |text: &str| words(text).map(|(_, word)| word.to_lowercase()).collect::<Vec<_>>();
    let mut missing = Vec::new();
    for (at, question) in lab.questions.iter().enumerate() {
        let asked = plain(&question.text);
        let answer = written
            .questions
            .iter()
            .find(|other| plain(&other.text) == asked)
            .map_or("", |other| other.answer.as_str());
        let placeholder = plain(&question.answer);
        let answer: String = prose(answer).map(|shown| &answer[shown]).collect();
        let given: Vec<_> = plain(&answer)
            .into_iter()
            .filter(|word| !(placeholder.len() > 2 && placeholder.contains(word)))
            .collect();
        let different: BTreeSet<_> = given.iter().filter(|word| is_long(word)).collect();
        let echo = !asked.is_empty() && given == asked;
        if given.len() < WORDS_OF_AN_ANSWER || different.len() < DIFFERENT_WORDS || echo {
            missing.push((at + 1, given.len()));
        }
    }
    missing
}

/// The words of a text, where each begins: whatever has at least one letter.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let at = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace()
        .filter(|word| word.chars().any(char::is_alphabetic))
        .map(move |word| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            (at(word), bare)
        })
}

/// Whether a word has more than one letter: `a b c d e` is the alphabet.
fn is_long(word: &str) -> bool {
    word.chars().nth(1).is_some()
}

/// The words of a chapter that are not in the starter, and stand in prose.
struct Own<'a> {
    words: Vec<(usize, &'a str)>,
}

impl<'a> Own<'a> {
    fn find(starter: &str, chapter: &'a str) -> Self {
        let old: Vec<&str> = words(starter).map(|(_, word)| word).collect();
        let placed: Vec<(usize, &str)> = words(chapter).collect();
        let new: Vec<&str> = placed.iter().map(|(_, word)| *word).collect();
        // A sentence of the starter is not one's own, wherever it is copied to.
        let given: HashSet<&str> = starter.lines().map(str::trim).filter(|line| line.len() > 20).collect();
        let mut is_new = vec![false; placed.len()];
        for hunk in diff::compare(&old, &new) {
            is_new[hunk.new].fill(true);
        }
        let mut own = Vec::new();
        for line in prose(chapter).filter(|line| !given.contains(chapter[line.clone()].trim())) {
            let begin = placed.partition_point(|(at, _)| *at < line.start);
            let end = placed.partition_point(|(at, _)| *at < line.end);
            let new = is_new[begin..end].iter().filter(|&&new| new).count();
            // Small words are in every text. A line of which most is new is all one's own.
            let all = 2 * new >= end - begin;
            own.extend((begin..end).filter(|&at| all || is_new[at]).map(|at| placed[at]));
        }
        Self { words: own }
    }

    /// How many there are in a stretch of the chapter, or rather how many that are worth counting: who says one thing
    /// before two fragments (`said` remembers) has said it of the first.
    fn between(&self, stretch: Range<usize>, said: &mut HashSet<Vec<String>>) -> usize {
        let begin = self.words.partition_point(|(at, _)| *at < stretch.start);
        let end = self.words.partition_point(|(at, _)| *at < stretch.end);
        let words: Vec<String> = self.words[begin..end.max(begin)]
            .iter()
            .map(|(_, word)| word.to_lowercase())
            .collect();
        let different: BTreeSet<_> = words.iter().filter(|word| is_long(word)).collect();
        let count = if different.len() < DIFFERENT_WORDS {
            different.len()
        } else {
            words.len()
        };
        if said.insert(words) { count } else { 0 }
    }
}

/// The lines of a chapter that a reader sees as text, or what is left of them: no code, no comment, no target of a link.
fn prose(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut fence: Option<String> = None;
    let mut comment = false;
    let mut end = 0;
    text.split_inclusive('\n').flat_map(move |whole| {
        let range = end..end + whole.len();
        end = range.end;
        let line = whole.trim().trim_start_matches("> ");
        if let Some(open) = &fence {
            if line.starts_with(open.as_str()) && line.trim_start_matches(&open[..1]).is_empty() {
                fence = None;
            }
            return Vec::new();
        }
        if !comment {
            for mark in ['`', '~'] {
                let run: String = line.chars().take_while(|&c| c == mark).collect();
                if run.len() >= 3 {
                    fence = Some(run);
                    return Vec::new();
                }
            }
            // `[//]: # (A comment of those who know Markdown too well)`
            if line.starts_with('[') && line.contains("]: ") {
                return Vec::new();
            }
        }
        let mut shown = Vec::new();
        let mut at = range.start;
        loop {
            let rest = &text[at..range.end];
            if comment {
                let Some(found) = rest.find("-->") else { return shown };
                (at, comment) = (at + found + 3, false);
            } else {
                // One that never ends is none.
                match rest.find("<!--").filter(|found| text[at + found..].contains("-->")) {
                    Some(found) => {
                        shown.push(at..at + found);
                        (at, comment) = (at + found, true);
                    }
                    None => {
                        shown.push(at..range.end);
                        return shown;
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::LAB;
    use tangle::source::Book;

    const BOOK: &str = "Text\n\n```rust file=module/a.rs\n<<ask>>\n```\n\nMore.\n\n```rust #ask\nbegin();\n```\n";

    fn judged(chapter: &str) -> Prose {
        let lab = Lab::read("labs/01-number.md", LAB);
        let book = Book::new([("chapters/a.md", BOOK), ("labs/work/01-number.md", chapter)]);
        let program = tangle::program(&book).unwrap();
        read(&lab, &Extended::of(book, program, 1))
    }

    fn lab() -> Lab {
        Lab::read("labs/01-number.md", LAB)
    }

    #[test]
    fn the_starter_has_nothing_of_ones_own() {
        let prose = judged(&lab().extract(View::Starter));
        assert_eq!((prose.fragments, prose.unexplained.len()), (0, 0));
        assert_eq!(prose.unanswered, [(1, 0), (2, 0)]);
    }

    #[test]
    fn the_solution_is_explained() {
        let prose = judged(&lab().extract(View::Solution));
        assert_eq!((prose.fragments, prose.unexplained.len()), (1, 0), "{prose:?}");
        assert_eq!(prose.unanswered, [(2, 0)]);
        assert!(prose.advice.is_empty());
    }

    fn with_prose(said: &str) -> Prose {
        let starter = lab().extract(View::Starter);
        judged(
            &starter
                .replace("*(Say here what you do and why.)*", said)
                .replace("missing(1)", "ask(2)"),
        )
    }

    #[test]
    fn a_fragment_wants_words_of_ones_own() {
        for said in [
            "",
            "Too short.",
            "*(Say here what you do and why.)*",
            "Bla bla bla bla bla bla bla bla bla bla bla.",
            "<!-- A comment that has more than eight words but that no reader sees -->",
            "One: <!-- a comment that has more than eight words but that no reader sees --> two.",
            "One: <!-- a comment that has more than\neight words but that no reader sees --> two.",
            "[//]: # (A comment that has more than eight words but that no reader sees)",
            "a b c d e f g h i j k l m",
            "```text\nA fence that has more than eight words but is no text of ones own\n```",
            "Goal.\nWrite `#ask +=`.",
        ] {
            let prose = with_prose(said);
            assert_eq!(prose.unexplained.len(), 1, "{said:?}: {prose:?}");
            assert_eq!(prose.unexplained[0].title, "#ask");
        }
        for said in [
            "A Guest asks with the number two since one is taken by somebody.",
            "A Guest asks <!-- sic --> with the number two.",
            "A comment begins with <!-- and this one never ends.",
        ] {
            assert_eq!(with_prose(said).unexplained, [], "{said:?}");
        }
    }

    #[test]
    fn plumbing_may_be_folded_but_not_all_is_plumbing() {
        let sentence = "A Guest asks with the number two since one is taken by somebody.";
        let folded = with_prose(&format!("{sentence}\n\n```rust fold #ask +=\nask(7);\n```\n"));
        assert_eq!((folded.fragments, folded.unexplained.len()), (2, 0));
        let more = with_prose(&format!("{sentence}\n\n```rust fold #ask +=\nask(7);\nask(8);\n```\n"));
        assert_eq!(more.unexplained.len(), 1);
    }

    #[test]
    fn one_sentence_is_not_said_of_two_fragments() {
        let sentence = "A Guest asks with the number two since one is taken by somebody.";
        let twice = format!("{sentence}\n\n```rust #ask +=\nask(7);\n```\n\n{sentence}");
        let prose = with_prose(&twice);
        assert_eq!((prose.fragments, prose.unexplained.len()), (2, 1));
    }

    #[test]
    fn an_answer_is_more_than_a_word() {
        let starter = lab().extract(View::Starter);
        let answered = |answer: &str| judged(&starter.replacen("*Your answer.*", answer, 1)).unanswered;
        assert_eq!(answered("Yes."), [(1, 1), (2, 0)]);
        assert_eq!(answered("No no no no no no no no no no no no."), [(1, 12), (2, 0)]);
        assert_eq!(
            answered("Yes. <!-- one two three four five six seven eight nine ten -->"),
            [(1, 1), (2, 0)]
        );
        assert_eq!(answered("a b c d e f g h i j k l"), [(1, 12), (2, 0)]);
        assert_eq!(
            answered("Because registers hold numbers, and then nobody has to copy anything at all."),
            [(2, 0)]
        );
    }

    #[test]
    fn what_tangle_advises_is_told() {
        let prose = with_prose(
            "A Guest asks with the number two since one is taken by somebody.\n\n```rust #ask +=\nif a {\n```\n\nAnd this closes what the fragment above has left open, as one should not.\n\n```rust #ask +=\n}\n```\n\nNow ask again, since that was only half of what we want.",
        );
        assert!(!prose.advice.is_empty());
        assert!(prose.unexplained.is_empty(), "{prose:?}");
    }
}
