//! A reader who comes with a tag of 2007 finds it in `chapters/tags.md`, once, and is led to a place that exists.

mod common;

use common::top;
use std::collections::{HashMap, HashSet};
use std::fs;

/// The tags of the journey of 2007: by part, their numbers.
const OF_2007: [(char, &[u16]); 7] = [
    ('P', &[10, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
    (
        'G',
        &[10, 20, 30, 31, 32, 33, 34, 35, 38, 45, 50, 55, 60, 70],
    ),
    (
        'D',
        &[
            10, 100, 110, 120, 130, 140, 200, 300, 310, 320, 340, 350, 360, 370, 380, 400, 410,
            420, 425, 430, 440, 450, 460, 470, 480, 490, 495, 500, 510, 520, 530, 550, 560, 570,
            580,
        ],
    ),
    (
        'L',
        &[
            0, 10, 20, 30, 35, 40, 50, 60, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 195,
            200, 210, 220, 300, 305, 310, 315, 320, 330, 340, 350, 360, 370, 380, 385, 390, 400,
            410,
        ],
    ),
    (
        'H',
        &[
            0, 10, 30, 100, 110, 120, 130, 200, 210, 220, 230, 235, 240, 250, 260, 300, 310, 320,
            330, 340, 350, 360, 400, 410, 420, 430, 435, 440, 450, 460, 470, 480, 500, 510, 520,
            600, 610,
        ],
    ),
    ('S', &[10, 100]),
    ('M', &[2, 3, 4, 5, 6, 7, 8, 11, 999]),
];

fn tags() -> Vec<String> {
    let tags = |(part, numbers): &(char, &[u16])| {
        let tag = |number| format!("{part}:{number:03}");
        numbers.iter().map(tag).collect::<Vec<_>>()
    };
    OF_2007.iter().flat_map(tags).collect()
}

/// A row of a table: its cells.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inside.split(" | ").map(str::trim).collect())
}

/// The page up to what came after 2007, and the rest.
fn page() -> (String, String) {
    let page = fs::read_to_string(top().join("chapters/tags.md")).expect("the table of tags");
    let (then, later) = page
        .split_once("\n## Later stops\n")
        .expect("a section about later stops");
    (then.to_owned(), later.to_owned())
}

/// Where the links of a text lead.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| rest.split(')').next()).collect()
}

/// A heading as a web page names it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

/// All anchors of a chapter.
fn anchors(chapter: &str) -> HashSet<String> {
    let mut in_code = false;
    let mut found = HashSet::new();
    for line in chapter.lines() {
        in_code ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !in_code) {
            found.insert(anchor(heading.trim_start_matches('#').trim()));
        }
    }
    found
}

/// What is wrong with where a link leads.
fn astray(link: &str) -> Option<String> {
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let Ok(text) = fs::read_to_string(top().join("chapters").join(file)) else {
        return Some(format!("{link}: no such file"));
    };
    let known = place.is_empty() || anchors(&text).contains(place);
    (!known).then(|| format!("{link}: no such heading"))
}

/// By tag, the file of the chapter that has its number.
fn chapters() -> HashMap<String, String> {
    let names = fs::read_dir(top().join("chapters")).expect("chapters");
    let names = names.map(|entry| entry.expect("a file").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let tag = |name: String| {
        let (letter, number) = (name.get(..1)?, name.get(1..4)?);
        let is_stop = name.ends_with(".md") && number.bytes().all(|c| c.is_ascii_digit());
        is_stop.then(|| (format!("{letter}:{number}"), name.clone()))
    };
    names.filter_map(tag).collect()
}

fn nothing(wrong: &[String], promise: &str) {
    assert!(wrong.is_empty(), "{promise}, but\n  {}", wrong.join("\n  "));
}

#[test]
fn there_were_145() {
    let tags = tags();
    assert_eq!(tags.len(), 145);
    assert_eq!(tags.iter().collect::<HashSet<_>>().len(), 145);
}

#[test]
fn each_tag_of_2007_has_exactly_one_row_and_in_their_order() {
    let (then, _) = page();
    let is_tag = |tag: &str| tag.len() == 5 && tag.as_bytes()[1] == b':';
    let rows = then.lines().filter_map(cells);
    let found: Vec<String> = rows
        .map(|row| row[0].to_owned())
        .filter(|tag| is_tag(tag))
        .collect();
    assert_eq!(found, tags());
}

#[test]
fn each_row_says_what_and_where_or_why_not() {
    let (then, later) = page();
    let mut wrong = Vec::new();
    for (line, count) in then
        .lines()
        .map(|line| (line, 3))
        .chain(later.lines().map(|line| (line, 4)))
    {
        let Some(row) = cells(line).filter(|row| row[0].contains(':') && row[0].len() < 16) else {
            continue;
        };
        let here = row.last().copied().unwrap_or_default();
        let reasons = [
            "not yet",
            "Not yet",
            "obsolete",
            "Obsolete",
            "stock kernel",
            "Not here",
        ];
        let is_told = !links(here).is_empty() || reasons.iter().any(|why| here.contains(why));
        if row.len() != count || row.iter().any(|cell| cell.is_empty()) || !is_told {
            wrong.push(line.to_owned());
        }
    }
    nothing(
        &wrong,
        "a row says the subject, and where it is or why it is nowhere",
    );
}

#[test]
fn each_link_leads_to_a_heading() {
    let (then, later) = page();
    let wrong: Vec<String> = links(&(then + &later))
        .into_iter()
        .filter_map(astray)
        .collect();
    nothing(&wrong, "whoever follows a tag arrives");
}

#[test]
fn a_chapter_with_a_number_of_2007_is_where_its_row_leads() {
    let (then, _) = page();
    let rows: HashMap<&str, &str> = then
        .lines()
        .filter_map(cells)
        .filter(|row| row.len() == 3)
        .map(|row| (row[0], row[2]))
        .collect();
    let chapters = chapters();
    let wrong: Vec<String> = tags()
        .iter()
        .filter_map(|tag| Some((tag, chapters.get(tag)?)))
        .filter(|(tag, file)| {
            let row = rows.get(tag.as_str()).copied().unwrap_or_default();
            let to = links(row);
            !to.iter().any(|link| link.split('#').next() == Some(file))
        })
        .map(|(tag, file)| format!("{tag} is {file}, and the row does not lead there"))
        .collect();
    nothing(
        &wrong,
        "a number of 2007 means here what it meant then: say so in the table, or take another number",
    );
}
