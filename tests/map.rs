//! The map of the book, `chapters/figures/map.svg`: stops as stations, the files that each of them opens, and where something runs.
//!
//! It is drawn from the book, so it is the book's as long as this test passes; `make map` draws it anew.

mod common;

use common::{clean, top};
use std::fmt::Write;
use std::fs;

const WIDTH: usize = 480;
const LINE: usize = 26;
/// Where the files of a stop begin.
const LEFT: usize = 48;
/// The width of a letter of a file's name.
const LETTER: f64 = 7.9;

/// A stop, as far as the map shows it.
struct Stop {
    tag: String,
    title: String,
    /// What `tangle states` says of it: `runs`, `tests` or nothing.
    promise: String,
    /// The files that it opens.
    files: Vec<String>,
}

/// A part of the book: its title and its stops.
struct Part {
    title: String,
    stops: Vec<Stop>,
}

fn parts() -> Vec<Part> {
    let dir = top().join("chapters");
    let summary = fs::read_to_string(dir.join("SUMMARY.md")).expect("the book has a summary");
    let states = clean(top().join("target/tangle/debug/tangle"))
        .arg("states")
        .current_dir(top())
        .output()
        .expect("make tangle has built it");
    let states = String::from_utf8_lossy(&states.stdout).into_owned();
    let promise = |tag: &str| {
        let line = states.lines().find(|line| line.starts_with(tag))?;
        let word = line.split_whitespace().nth(1)?;
        matches!(word, "runs" | "tests").then(|| word.to_owned())
    };
    let mut parts: Vec<Part> = Vec::new();
    for line in summary.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            parts.push(Part {
                title: title.to_owned(),
                stops: Vec::new(),
            });
            continue;
        }
        let Some((title, file)) = line
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once("]("))
        else {
            continue;
        };
        let file = file.split(')').next().unwrap_or_default();
        // Only stops have a tag, and its first letter is that of the part.
        let Some((tag, title)) = title.split_once(' ').filter(|(tag, _)| tag.contains(':')) else {
            continue;
        };
        let text = fs::read_to_string(dir.join(file)).expect("the summary names chapters");
        let files = fences(&text).filter_map(|info| {
            let path = info.split("file=").nth(1)?.split_whitespace().next()?;
            (!info.ends_with("+=")).then(|| path.to_owned())
        });
        parts.last_mut().expect("a part").stops.push(Stop {
            promise: promise(&tag.replace(':', "")).unwrap_or_default(),
            tag: tag.to_owned(),
            title: title.to_owned(),
            files: files.collect(),
        });
    }
    parts.retain(|part| !part.stops.is_empty());
    parts
}

/// The info strings of all code blocks.
fn fences(text: &str) -> impl Iterator<Item = &str> {
    let mut open = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        let info = line.trim_start_matches(['`', '~']);
        let marks = &line[..line.len() - info.len()];
        if open.is_empty() && marks.len() >= 3 {
            open = marks;
            return Some(info);
        }
        if !open.is_empty() && info.is_empty() && marks.starts_with(open) {
            open = "";
        }
        None
    })
}

/// The colour of a district: whose the code is.
fn district(path: &str) -> &'static str {
    match path {
        _ if path.starts_with("module/arch/") => "switcher",
        _ if path.starts_with("module/") => "host",
        _ if path.starts_with("launcher/") => "launcher",
        _ if path.starts_with("guest/user/") => "user",
        _ if path.starts_with("guest/") => "kernel",
        _ => "plain",
    }
}

/// The colour of a line: by the letter of its stops.
fn line(tag: &str) -> &'static str {
    match tag.as_bytes()[0] {
        b'L' => "launcher",
        b'H' => "host",
        b'S' => "switcher",
        b'G' => "kernel",
        b'D' => "user",
        _ => "plain",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A file's name in its box, the upper left corner of which is at (x, y); its width.
fn chip(out: &mut String, x: f64, y: usize, class: &str, text: &str) -> f64 {
    let width = (text.chars().count() as f64 * LETTER + 12.0).round();
    writeln!(
        out,
        "  <rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"20\" rx=\"4\"/>\n  \
         <text class=\"code\" x=\"{}\" y=\"{}\">{}</text>",
        x + 6.0,
        y + 10,
        escape(text)
    )
    .expect("a string takes everything");
    width
}

/// Boxes one after the other, in as many rows as they need; where the next row is.
fn chips<'a>(
    out: &mut String,
    mut y: usize,
    boxes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> usize {
    let mut x = LEFT as f64;
    for (class, text) in boxes {
        let width = text.chars().count() as f64 * LETTER + 12.0;
        if x > LEFT as f64 && x + width > WIDTH as f64 - 4.0 {
            x = LEFT as f64;
            y += LINE;
        }
        x += chip(out, x, y, class, text) + 6.0;
    }
    y + LINE
}

/// A station: full where it boots, half where tests pass.
fn station(out: &mut String, y: usize, class: &str, promise: &str) {
    let radius = if promise == "runs" { 10 } else { 7 };
    let mark = match promise {
        "runs" => format!("<path class=\"mark\" d=\"M17 {} l8 5 l-8 5 z\"/>", y - 5),
        "tests" => format!("<path class=\"tick\" d=\"M17 {y} l2.5 3 l4.5 -6\"/>"),
        _ => String::new(),
    };
    writeln!(
        out,
        "  <circle class=\"{class}\" cx=\"20\" cy=\"{y}\" r=\"{radius}\"/>{mark}"
    )
    .expect("a string takes everything");
}

fn draw(parts: &[Part]) -> String {
    let mut body = String::new();
    let mut y = 20;
    for (promise, text) in [
        ("runs", "the system as of this stop boots"),
        ("tests", "tests of its parts pass"),
    ] {
        station(&mut body, y, "plain", promise);
        writeln!(
            body,
            "  <text class=\"loose\" x=\"{LEFT}\" y=\"{y}\">{text}</text>"
        )
        .expect("a string takes everything");
        y += LINE;
    }
    let districts = [
        ("plain", "abi"),
        ("host", "module"),
        ("switcher", "module/arch"),
        ("launcher", "launcher"),
        ("kernel", "guest"),
        ("user", "guest/user"),
    ];
    y = chips(&mut body, y - 8, districts) + 8;
    for part in parts {
        y += 22;
        writeln!(
            body,
            "  <text class=\"loose part\" x=\"8\" y=\"{y}\">{}</text>",
            escape(&part.title)
        )
        .expect("a string takes everything");
        y += LINE;
        let (top, mut stations) = (y, String::new());
        let mut bottom = y;
        for stop in &part.stops {
            bottom = y;
            station(&mut stations, y, line(&stop.tag), &stop.promise);
            writeln!(
                body,
                "  <text class=\"loose\" x=\"{LEFT}\" y=\"{y}\">{} {}</text>",
                stop.tag,
                escape(&stop.title)
            )
            .expect("a string takes everything");
            y += LINE;
            if !stop.files.is_empty() {
                let named = stop.files.iter().map(|path| {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    (district(path), name)
                });
                y = chips(&mut body, y - 12, named) + 8;
            }
        }
        let class = line(&part.stops[0].tag);
        writeln!(
            body,
            "  <path class=\"track {class}\" d=\"M20 {top} V{bottom}\"/>\n{}",
            stations.trim_end()
        )
        .expect("a string takes everything");
    }
    let height = y + 4;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">
  <title id=\"title\">The stops of the book, the files that each of them opens, and where something runs</title>
  <style>
    text {{ font: 13px system-ui, \"Segoe UI\", Helvetica, Arial, sans-serif; fill: #1a2027; dominant-baseline: central }}
    .code {{ font-family: ui-monospace, \"DejaVu Sans Mono\", Menlo, Consolas, monospace }}
    .loose {{ fill: #737d8c; font-weight: 600 }}
    .part {{ font-size: 16px }}
    rect, circle {{ stroke-width: 1.5 }}
    .host {{ fill: #f5aea1; stroke: #c4543f }}
    .switcher {{ fill: #f8d272; stroke: #b98a12 }}
    .kernel {{ fill: #a3c8f3; stroke: #3f7cc0 }}
    .user {{ fill: #aedba5; stroke: #4b9440 }}
    .launcher {{ fill: #cdb8ef; stroke: #7e5bbd }}
    .plain {{ fill: #d7dbe0; stroke: #7c8592 }}
    .track {{ fill: none; stroke-width: 3 }}
    .mark {{ fill: #1a2027 }}
    .tick {{ fill: none; stroke: #1a2027; stroke-width: 1.5 }}
  </style>
{body}</svg>
",
        WIDTH * 6 / 5,
        height * 6 / 5
    )
}

#[test]
fn the_map_is_that_of_the_book() {
    let path = top().join("chapters/figures/map.svg");
    let drawn = draw(&parts());
    if std::env::var("MAP").is_ok_and(|what| what == "draw") {
        fs::write(&path, drawn).expect("the figure can be written");
        return;
    }
    let shown = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        shown == drawn,
        "{} is the map of another book: make map",
        path.display()
    );
}
