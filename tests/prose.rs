//! What the book has promised about its prose: P:010 tells a reader what to expect of a stop, and here it is held to that.
//!
//! A stop is a chapter with a tag. `tangle` counts; the rest is read from the chapters as they are.

mod common;

use common::{clean, top, transcript};
use std::collections::HashMap;
use std::fs;

/// Minutes that a stop may take: "five to fifteen", rounded.
const LONGEST: f64 = 15.5;
/// Minutes between two stops at which something runs.
const LONGEST_WITHOUT_A_RUN: f64 = 30.0;

/// A chapter, in reading order.
struct Chapter {
    /// The name of its file.
    file: String,
    /// Its title in the table of contents.
    title: String,
    text: String,
}

impl Chapter {
    /// One with a tag: a letter, three digits, and a dash.
    fn is_stop(&self) -> bool {
        let name = self.file.as_bytes();
        name.len() > 4 && name[0].is_ascii_uppercase() && name[1..4].iter().all(u8::is_ascii_digit)
    }

    /// Its lines outside of code blocks, each with its number.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fence: Option<&str> = None;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let start = line.trim();
            let marks = &start[..start.len() - start.trim_start_matches(['`', '~']).len()];
            let was_in = fence.is_some();
            match fence {
                None if marks.len() >= 3 => fence = Some(marks),
                Some(open) if marks.starts_with(open) && start == marks => fence = None,
                _ => {}
            }
            !was_in && fence.is_none()
        })
    }

    /// Its paragraphs outside of code blocks, each with the number of its first line.
    fn paragraphs(&self) -> Vec<(usize, String)> {
        let mut paragraphs: Vec<(usize, String)> = Vec::new();
        let mut next = 0;
        for (number, line) in self.prose().filter(|(_, line)| !line.trim().is_empty()) {
            match paragraphs.last_mut().filter(|_| number == next) {
                Some((_, paragraph)) => *paragraph += &format!("\n{line}"),
                None => paragraphs.push((number, line.to_owned())),
            }
            next = number + 1;
        }
        paragraphs
    }

    /// What stands under the heading, up to the next one of its kind.
    fn section(&self, heading: &str) -> Option<&str> {
        let (_, after) = self.text.split_once(&format!("\n## {heading}\n"))?;
        Some(after.split("\n## ").next().unwrap_or(after))
    }
}

/// All of the book that has a file, in reading order.
fn chapters() -> Vec<Chapter> {
    let dir = top().join("chapters");
    let summary = fs::read_to_string(dir.join("SUMMARY.md")).expect("the book has a summary");
    let link = |line: &str| {
        let (title, rest) = line.split_once('[')?.1.split_once("](")?;
        let file = rest.split(')').next()?.to_owned();
        Some(Chapter {
            text: fs::read_to_string(dir.join(&file)).expect("the summary names chapters"),
            title: title.to_owned(),
            file,
        })
    };
    summary.lines().filter_map(link).collect()
}

/// The stops, in reading order.
fn stops() -> Vec<Chapter> {
    chapters().into_iter().filter(Chapter::is_stop).collect()
}

/// What `tangle` prints, and whether it was content.
fn tangle(arguments: &[&str]) -> (String, String, bool) {
    let said = clean("cargo")
        .args([
            "run",
            "--quiet",
            "--package",
            "tangle",
            "--bin",
            "tangle",
            "--no-default-features",
            "--features",
            "cli",
        ])
        .args(["--target-dir", "target/tangle", "--"])
        .args(arguments)
        .current_dir(top())
        .output()
        .expect("cargo can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&said.stdout),
        text(&said.stderr),
        said.status.success(),
    )
}

/// By file, the minutes that it takes.
fn minutes() -> HashMap<String, f64> {
    let (table, said, fine) = tangle(&["stats"]);
    assert!(fine, "tangle stats: {said}");
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let file = words.next()?.strip_prefix("chapters/")?.to_owned();
        Some((file, words.next()?.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

/// Fails with all that is wrong at once.
fn nothing(wrong: &[String], promise: &str) {
    assert!(wrong.is_empty(), "{promise}, but\n  {}", wrong.join("\n  "));
}

#[test]
fn a_stop_takes_a_quarter_of_an_hour_at_most() {
    let minutes = minutes();
    let wrong: Vec<String> = stops()
        .iter()
        .filter(|stop| minutes[&stop.file] > LONGEST)
        .map(|stop| format!("{} takes {:.1}", stop.file, minutes[&stop.file]))
        .collect();
    nothing(
        &wrong,
        "a stop takes fifteen minutes at most: split it by question, or fold plumbing",
    );
}

#[test]
fn a_fragment_is_a_unit() {
    let (_, said, fine) = tangle(&["check", "--strict", "--quiet"]);
    assert!(fine, "{said}");
}

#[test]
fn something_runs_at_every_stop() {
    let shown = transcript::all();
    let wrong: Vec<String> = stops()
        .iter()
        .filter(|stop| !matches!(&stop.file[..1], "P" | "M"))
        .filter(|stop| !shown.iter().any(|one| one.place.starts_with(&stop.file)))
        .map(|stop| stop.file.clone())
        .collect();
    nothing(
        &wrong,
        "every stop of the journey shows something that runs",
    );
}

#[test]
fn half_an_hour_lies_between_two_stops_that_run() {
    let minutes = minutes();
    let shown = transcript::all();
    let mut since = 0.0;
    let mut wrong = Vec::new();
    // What comes behind the journey looks back on it.
    for chapter in chapters().iter().filter(|one| !one.file.starts_with('M')) {
        since += minutes.get(&chapter.file).copied().unwrap_or_default();
        if since > LONGEST_WITHOUT_A_RUN && chapter.is_stop() {
            wrong.push(format!(
                "{since:.0} minutes up to the end of {}",
                chapter.file
            ));
        }
        if shown.iter().any(|one| one.place.starts_with(&chapter.file)) {
            since = 0.0;
        }
    }
    nothing(&wrong, "something runs every half hour");
}

/// The stops of the text that the journey comes from.
const SEED: [&str; 9] = [
    "L000", "L010", "L020", "L030", "L040", "L050", "L060", "L310", "L315",
];

#[test]
fn the_spine_owns_its_code() {
    let (table, said, fine) = tangle(&["stats", "--json"]);
    assert!(fine, "tangle stats: {said}");
    let shown = |tag: &str| {
        let chapter = table
            .split("chapters/")
            .find(|rest| rest.starts_with(tag))?;
        let count = chapter.split("\"shown_lines\":").nth(1)?;
        count
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<usize>()
            .ok()
    };
    let wrong: Vec<String> = SEED
        .iter()
        .filter(|tag| shown(tag).is_none_or(|lines| lines < 10))
        .map(|tag| format!("{tag} has {:?} lines", shown(tag)))
        .collect();
    nothing(
        &wrong,
        "what the seed tells at a stop is tangled from that stop",
    );
}

#[test]
fn no_two_stops_show_the_same_run() {
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut wrong = Vec::new();
    let stops = stops();
    for one in transcript::all() {
        let chapter = one.place.split(':').next().unwrap_or_default().to_owned();
        if !stops.iter().any(|stop| stop.file == chapter) {
            continue;
        }
        let other = seen.entry(one.whole()).or_insert_with(|| chapter.clone());
        if *other != chapter {
            wrong.push(format!("{} and {other}", one.place));
        }
    }
    nothing(&wrong, "what a stop shows is its own");
}

#[test]
fn whatever_is_shown_is_run_again() {
    let shown = transcript::all();
    let mut wrong = Vec::new();
    for chapter in chapters() {
        let lines: Vec<&str> = chapter.text.lines().map(str::trim).collect();
        for (number, pair) in (1..).zip(lines.windows(2)) {
            let command = pair[1].strip_prefix("$ make ");
            let program = command.and_then(|rest| rest.split(' ').next());
            let is_run = matches!(program, Some("run" | "vm" | "cases" | "logic"));
            let place = format!("{}:{number}", chapter.file);
            if pair[0].ends_with("console") && is_run && !shown.iter().any(|one| one.place == place)
            {
                wrong.push(format!("{place}: `{}`", pair[1]));
            }
        }
    }
    nothing(&wrong, "what a page shows is typed in again by the tests");
}

#[test]
fn each_stop_ends_on_a_thread() {
    let stops = stops();
    let mut wrong = Vec::new();
    for pair in stops.windows(2) {
        let last = pair[0]
            .text
            .trim_end()
            .rsplit("\n\n")
            .next()
            .unwrap_or_default();
        let thread = format!("**Next: [{}]({}).** ", pair[1].title, pair[1].file);
        if !last.starts_with(&thread) || last.len() < thread.len() + 10 {
            wrong.push(format!(
                "{} does not end with `{thread}` and a sentence",
                pair[0].file
            ));
        }
    }
    nothing(
        &wrong,
        "a stop ends with the next one's title and why one wants to go there",
    );
}

/// The items of a numbered list, each without its number.
fn numbered(section: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in section.lines() {
        let begun = line
            .split_once(". ")
            .filter(|(number, _)| number.parse::<usize>().is_ok());
        match (begun, items.last_mut()) {
            (Some((_, text)), _) => items.push(format!("{text}\n")),
            (None, Some(item)) => *item += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    items
}

#[test]
fn exercises_say_how_long_they_take_give_a_hint_and_name_what_checks_them() {
    let mut wrong = Vec::new();
    for stop in stops() {
        let Some(section) = stop.section("Exercises") else {
            wrong.push(format!("{} has none", stop.file));
            continue;
        };
        let items = numbered(section);
        if items.len() != 3 {
            wrong.push(format!(
                "{} has {} exercises, not three",
                stop.file,
                items.len()
            ));
        }
        for (item, kind) in items.iter().zip(["Change", "Explain", "Break"]) {
            let well_begun = [
                "ten minutes",
                "half an hour",
                "an hour",
                "an evening",
                "a weekend",
            ]
            .iter()
            .any(|time| item.starts_with(&format!("**{kind}** ({time}). ")));
            if !well_begun {
                let begin: String = item.chars().take(40).collect();
                wrong.push(format!(
                    "{}: `{begin}` does not begin like `**{kind}** (an hour). `",
                    stop.file
                ));
            }
            for part in ["<summary>Hint</summary>", "*Checks it:* "] {
                if !item.contains(part) {
                    wrong.push(format!("{}: **{kind}** has no `{part}`", stop.file));
                }
            }
        }
    }
    nothing(&wrong, "exercises have one format");
}

/// The words of the glossary: how they are written, and the file that explains them.
fn words(glossary: &str) -> Vec<(Vec<String>, String)> {
    let entry = |paragraph: &str| {
        let (term, rest) = paragraph
            .trim_start()
            .strip_prefix("**")?
            .split_once(".**")?;
        let file = rest
            .split_once("](")?
            .1
            .split([')', '#'])
            .next()?
            .to_owned();
        let forms = term.split(", ").map(|form| form.replace('`', ""));
        Some((forms.collect(), file))
    };
    glossary.split("\n\n").filter_map(entry).collect()
}

/// Text without what explains itself: links, emphasis and code. It has as many lines.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['[', '*', '`']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let open = if rest.starts_with("**") { 2 } else { 1 };
        let end = match &rest[..1] {
            "[" => rest
                .find(']')
                .filter(|&to| rest[to..].starts_with("]("))
                .and_then(|to| Some(to + rest[to..].find(')')? + 1)),
            // A star before a space is one, and an item of a list, perhaps.
            _ if rest[open..].starts_with([' ', '\n']) => None,
            _ => rest[open..]
                .find(&rest[..open])
                .map(|length| length + 2 * open),
        };
        let (gone, behind) = rest.split_at(end.unwrap_or(open));
        plain.push(' ');
        plain.extend(gone.chars().filter(|&c| c == '\n'));
        rest = behind;
    }
    plain + rest
}

/// In which line of the text, from 0, the word stands, by itself or with an s.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let is_name = word.chars().any(char::is_uppercase)
        && word.len() > 1
        && word.chars().nth(1).is_some_and(|c| !c.is_lowercase());
    let (text, word) = if is_name {
        (text.to_owned(), word.to_owned())
    } else {
        (text.to_lowercase(), word.to_lowercase())
    };
    let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-');
    let found = text
        .replace('\n', " ")
        .match_indices(&word)
        .map(|(at, _)| at)
        .find(|&at| {
            let behind = &text[at + word.len()..];
            let behind = behind.strip_prefix('s').unwrap_or(behind);
            ends(text[..at].chars().next_back()) && ends(behind.chars().next())
        })?;
    Some(text[..found].matches('\n').count())
}

#[test]
fn words_are_explained_before_they_are_used() {
    let chapters = chapters();
    let place = |file: &str| chapters.iter().position(|chapter| chapter.file == file);
    let glossary = place("glossary.md").expect("the book has a glossary");
    let mut wrong = Vec::new();
    let words = words(&chapters[glossary].text);
    let entries = chapters[glossary].text.matches("\n\n**").count();
    assert_eq!(
        words.len(),
        entries,
        "an entry of the glossary is `**Word.** ...` with a link"
    );
    for (forms, file) in words {
        let Some(explained) = place(&file) else {
            wrong.push(format!("{}: {file} is not in the book", forms[0]));
            continue;
        };
        for chapter in chapters[..explained]
            .iter()
            .filter(|chapter| chapter.is_stop())
        {
            let used = chapter.paragraphs().iter().find_map(|(first, text)| {
                let text = plain(text);
                let lines = forms.iter().filter_map(|form| find_word(&text, form));
                Some(first + lines.min()?)
            });
            if let Some(line) = used {
                wrong.push(format!(
                    "{}:{line} uses `{}`, which {file} explains",
                    chapter.file, forms[0]
                ));
                break;
            }
        }
    }
    nothing(&wrong, "a word is explained before it is used");
}

#[test]
fn what_these_tests_read_is_what_stands_there() {
    assert_eq!(
        plain("a [link\nof two](b.md) and *b* or **c** in `d`, e"),
        "a  \n and   or   in  , e"
    );
    assert_eq!(
        plain("* one [0, 1) gate\n* 2 * 3 gates, [a] b [c](d)"),
        "  one  0, 1) gate\n  2   3 gates,  a] b  "
    );
    assert_eq!(
        plain("a lone *, a `, and a gate"),
        "a lone  , a  , and a gate"
    );
    assert_eq!(find_word("Two gates.", "Gate"), Some(0));
    assert_eq!(find_word("A\ntrap\ngate", "trap gate"), Some(1));
    for (text, word) in [
        ("delegates", "gate"),
        ("an msr", "MSR"),
        ("a gatess", "gate"),
    ] {
        assert_eq!(find_word(text, word), None);
    }
    let items = numbered("\n1. **Change**\n   more\n\n10. b\n");
    assert_eq!(items, ["**Change**\n   more\n\n", "b\n"]);
    let chapter = Chapter {
        file: "L010-write.md".to_owned(),
        title: String::new(),
        text: "one\n```rust\ntwo\n``` \nthree\n\n## Exercises\n\nfour\n\n## More\n".to_owned(),
    };
    assert!(chapter.is_stop());
    let lines: Vec<usize> = chapter.prose().map(|(number, _)| number).collect();
    assert_eq!(lines, [1, 5, 6, 7, 8, 9, 10, 11]);
    let first: Vec<usize> = chapter.paragraphs().iter().map(|one| one.0).collect();
    assert_eq!(first, [1, 5, 7, 9, 11]);
    assert_eq!(chapter.section("Exercises"), Some("\nfour\n"));
}
