//! What must hold whatever comes in: one function for each fuzz target in `fuzz/`, which `tests/fuzz.rs` calls, too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use tangle::Program;
use tangle::diagnostic::{self, Format};
use tangle::dialect::Dialect;
use tangle::map;
use tangle::parse::{self, Fence};
use tangle::source::{Book, Source};
use tangle::stitch::{Edit, stitch};
use tangle::weave::{Page, Target, Weaver};
use tangle::wrap::symbols::Objects;
use tangle::wrap::{Locator, text::Rewriter};

use crate::checks::the_map_tells_the_truth;

const DIALECTS: [Dialect; 4] = [
    Dialect::Tangle,
    Dialect::Entangled {
        namespaces: true,
        split: false,
    },
    Dialect::Entangled {
        namespaces: false,
        split: true,
    },
    Dialect::Entangled {
        namespaces: true,
        split: true,
    },
];

/// Any text is a chapter: it is read without a panic, every range that comes out lies in it, and if it has no fragment it
/// passes through the weave as it is.
pub fn parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for dialect in DIALECTS {
        let source = Source::new("a.md", &*text);
        let parsed = parse::parse(&source, dialect);
        let mut end = 0;
        for fence in &parsed.fences {
            assert!(end <= fence.range.start, "fences follow each other");
            end = fence.range.end;
            fence_is_sound(&text, fence);
        }
        for range in parsed.faults.iter().map(|(range, _)| range).chain(&parsed.unterminated) {
            assert!(text.get(range.clone()).is_some());
        }
        let book = Book {
            sources: vec![source],
            dialect,
        };
        match tangle::program(&book) {
            Ok(program) => {
                the_map_tells_the_truth(&book, &program);
                weaving_keeps_what_is_no_fragment(&book, &program);
            }
            Err(mistakes) => drop(diagnostic::render(&book, &mistakes, Format::Human)),
        }
    }
}

fn fence_is_sound(text: &str, fence: &Fence) {
    assert!(text.get(fence.range.clone()).is_some());
    assert!(text.get(fence.info.clone()).is_some());
    assert!(fence.range.start <= fence.info.start && fence.info.end <= fence.range.end);
    for (index, line) in fence.lines().enumerate() {
        let before = &text[..line.offset];
        assert_eq!(line.number, before.matches('\n').count() + 1, "line {index}");
        let code = line.text.trim();
        assert_eq!(
            &text[line.place(line.text.trim_end().len() - code.len())..][..code.len()],
            code
        );
        assert!(!line.text.contains('\n'));
        if let Some(reference) = line.reference() {
            assert!(line.text.contains(reference.name));
            let written = &text[reference.range.clone()];
            assert!(written.starts_with("<<") && written.ends_with(">>"), "{written:?}");
        }
    }
}

/// What stands outside of fences with a part in the program is on the pages as it is in the chapters.
fn weaving_keeps_what_is_no_fragment(book: &Book, program: &Program) {
    let page = |source: &Source| Page {
        path: source.path().to_owned(),
        title: source.path().to_owned(),
    };
    let pages: Vec<_> = book.sources.iter().map(page).collect();
    for target in [Target::Html, Target::Markdown, Target::Test] {
        let weaver = Weaver::new(book, program, &pages, target);
        for (index, source) in book.sources.iter().enumerate() {
            if tangle::states::front_matter(source.text()).is_some() {
                continue;
            }
            let woven = weaver.chapter(index);
            let mut rest = woven.as_str();
            for part in outside(source, book.dialect) {
                let at = rest
                    .find(part)
                    .unwrap_or_else(|| panic!("{part:?} is not in {woven:?}"));
                rest = &rest[at + part.len()..];
            }
            if program.model.pieces.iter().all(|piece| piece.source != index) {
                assert_eq!(woven, source.text());
            }
        }
        drop(weaver.appendix());
    }
}

/// The text between the fences that have a part in the program.
fn outside(source: &Source, dialect: Dialect) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut end = 0;
    for fence in parse::parse(source, dialect).fences {
        parts.push(&source.text()[end..fence.range.start]);
        end = fence.range.end;
    }
    parts.push(&source.text()[end..]);
    parts
}

const NAMES: [&str; 5] = ["one", "two", "three", "a b", "\u{e9}"];
const FILES: [&str; 3] = ["a.rs", "d/b.c", "c"];
const INDENTS: [&str; 5] = ["", "    ", "\t", "  ", " \t "];
const PREFIXES: [(&str, &str); 7] = [
    ("", ""),
    ("- ", "  "),
    ("> ", "> "),
    ("1. > ", "   > "),
    ("  ", "  "),
    (">", ">"),
    ("-\t", "\t"),
];

/// A line of code that refers to nothing, most of the time.
fn code(u: &mut Unstructured) -> Result<String> {
    let text = match u.int_in_range(0..=9)? {
        0 => String::new(),
        1 => "}".to_owned(),
        2 => "let \u{e9} = f(a, b); ".to_owned(),
        3 => "   ".to_owned(),
        4 => "```".to_owned(),
        5 => "# hidden".to_owned(),
        6 => u.arbitrary::<&str>()?.chars().filter(|c| *c != '\n').take(20).collect(),
        _ => format!("call({});", u.int_in_range(0..=9)?),
    };
    Ok(format!("{}{text}", u.choose(&INDENTS)?))
}

/// A fence inside whatever `prefix` makes of it.
fn fence(text: &mut String, (first, next): (&str, &str), info: &str, lines: &[String], end: &str) {
    let _ = write!(text, "Words.{end}{end}{first}````{info}{end}");
    for line in lines {
        let _ = write!(text, "{next}{line}{end}");
    }
    let _ = write!(text, "{next}````{end}{end}");
}

/// A book of anything, in no order, with all mistakes that there are.
fn wild_book(u: &mut Unstructured) -> Result<Book> {
    let mut sources = Vec::new();
    for chapter in 0..u.int_in_range(1..=3)? {
        let mut text = String::new();
        let end = *u.choose(&["\n", "\n", "\r\n"])?;
        for _ in 0..u.int_in_range(0..=6)? {
            if u.ratio(1, 5)? {
                text.push_str(u.arbitrary::<&str>()?);
                continue;
            }
            let mut info = (*u.choose(&["rust", "c", ""])?).to_owned();
            if u.ratio(2, 3)? {
                let _ = write!(info, " #{}", u.choose(&NAMES)?);
            }
            if u.ratio(1, 3)? {
                let _ = write!(info, " file={}", u.choose(&FILES)?);
            }
            info.push_str(u.choose(&["", "", " +=", " :=", " .class k=v"])?);
            let mut lines = Vec::new();
            for _ in 0..u.int_in_range(0..=4)? {
                lines.push(if u.ratio(1, 3)? {
                    format!("{}<<{}>>", u.choose(&INDENTS)?, u.choose(&NAMES)?)
                } else {
                    code(u)?
                });
            }
            fence(&mut text, *u.choose(&PREFIXES)?, &info, &lines, end);
        }
        sources.push(Source::new(format!("src/c{chapter}.md"), text));
    }
    Ok(Book {
        sources,
        dialect: *u.choose(&DIALECTS)?,
    })
}

/// A book without mistakes: each name refers to later ones only, each is used at least once.
fn sound_book(u: &mut Unstructured) -> Result<Book> {
    let dialect = *u.choose(&[DIALECTS[0], DIALECTS[0], DIALECTS[2]])?;
    let fragments = u.int_in_range(1..=6)?;
    let files = u.int_in_range(1..=2)?;
    let mut pieces: Vec<Vec<Vec<String>>> = Vec::new();
    for _ in 0..files + fragments {
        let mut fences = vec![Vec::new(); u.int_in_range(1..=2)?];
        for lines in &mut fences {
            for _ in 0..u.int_in_range(0..=4)? {
                let line = code(u)?;
                if dialect.reference(&line).is_none() && !line.contains("<<") {
                    lines.push(line);
                }
            }
        }
        pieces.push(fences);
    }
    for fragment in files..files + fragments {
        for _ in 0..u.int_in_range(1..=2)? {
            let user = u.int_in_range(0..=fragment - 1)?;
            let fence = u.choose_index(pieces[user].len())?;
            let at = u.int_in_range(0..=pieces[user][fence].len())?;
            let line = format!("{}<<f{fragment}>>", u.choose(&INDENTS)?);
            pieces[user][fence].insert(at, line);
        }
    }
    let end = *u.choose(&["\n", "\n", "\n", "\r\n"])?;
    let mut chapters = vec![String::new(); u.int_in_range(1..=2)?];
    for (number, fences) in pieces.iter().enumerate() {
        for (at, lines) in fences.iter().enumerate() {
            let mut info = if number < files {
                format!("rust file={}", FILES[number])
            } else {
                format!("rust #f{number}")
            };
            if at > 0 && dialect == Dialect::Tangle {
                info.push_str(" +=");
            }
            // Additions stay in reading order.
            let chapter = if number % 2 == 0 { 0 } else { chapters.len() - 1 };
            fence(&mut chapters[chapter], *u.choose(&PREFIXES)?, &info, lines, end);
        }
    }
    let named = |(at, text)| Source::new(format!("src/c{at}.md"), text);
    Ok(Book {
        sources: chapters.into_iter().enumerate().map(named).collect(),
        dialect,
    })
}

/// Any book is tangled or refused; the map knows each line that comes out, as at the end of each chapter, too.
pub fn tangle(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(book) = wild_book(&mut u) else { return };
    match tangle::program(&book) {
        Ok(program) => {
            the_map_tells_the_truth(&book, &program);
            weaving_keeps_what_is_no_fragment(&book, &program);
            assert_eq!(
                tangle::tangle::line_map(&book, &program.model),
                program.tangled.line_map(&book, &program.model)
            );
        }
        Err(mistakes) => drop(diagnostic::render(&book, &mistakes, Format::Json)),
    }
    for chapter in &book.sources {
        if let Ok(state) = tangle::states::as_of(&book, tangle::states::tag(chapter.path())) {
            the_map_tells_the_truth(&state.book, &state.program);
        }
    }
}

/// Changes a text as editors, formatters and accidents do.
fn edit(u: &mut Unstructured, text: &str) -> Result<String> {
    let mut lines: Vec<String> = text.split_terminator('\n').map(str::to_owned).collect();
    for _ in 0..u.int_in_range(1..=4)? {
        let at = u.int_in_range(0..=lines.len())?;
        let end = (at + u.int_in_range(1..=4)?).min(lines.len());
        if at == lines.len() {
            lines.push(code(u)?);
            continue;
        }
        match u.int_in_range(0..=11)? {
            0 => lines.insert(at, code(u)?),
            1 => drop(lines.drain(at..end)),
            2 => lines[at].push_str(u.choose(&[" // more", "\r", " ", "\u{e9}"])?),
            3 => lines[at..end].iter_mut().for_each(|line| line.insert_str(0, "    ")),
            4 => {
                let indent = lines[at].len() - lines[at].trim_start().len();
                lines[at].drain(..indent);
            }
            5 => lines.insert(at, String::new()),
            6 => {
                let joined = lines[at..end].join(" ");
                lines.splice(at..end, [joined]);
            }
            7 => {
                let to = u.int_in_range(0..=lines.len())?;
                let copy = lines[at..end].to_vec();
                lines.splice(to..to, copy);
            }
            8 => {
                let block: Vec<_> = lines.drain(at..end).collect();
                let to = u.int_in_range(0..=lines.len())?;
                lines.splice(to..to, block);
            }
            9 => lines.iter_mut().for_each(|line| *line = line.replace("    ", "\t")),
            10 => lines.clear(),
            _ => lines[at] = code(u)?,
        }
    }
    let mut text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    if u.ratio(1, 30)? {
        text.pop();
    }
    Ok(text)
}

/// True if the edit was stitched, false if it was refused or there was none.
///
/// Stitched edits come back byte for byte when the new chapters are tangled, and nothing outside of fences changes.
pub fn stitch_random(data: &[u8]) -> bool {
    let mut u = Unstructured::new(data);
    let Ok(book) = sound_book(&mut u) else { return false };
    let Ok(program) = tangle::program(&book) else {
        return false;
    };
    let mut edits = BTreeMap::new();
    for (path, file) in &program.tangled.files {
        if u.ratio(2, 3).unwrap_or(false)
            && let Ok(text) = edit(&mut u, &file.text)
        {
            let base = file.text.clone();
            edits.insert(path.clone(), Edit { base, text });
        }
    }
    let Ok(stitched) = stitch(&book, &program, &edits) else {
        return false;
    };
    let again = tangle::program(&stitched.book).expect("the new chapters have no mistakes");
    for (path, file) in &program.tangled.files {
        let wanted = edits.get(path).map_or(&file.text, |edit| &edit.text);
        assert_eq!(&again.tangled.files[path].text, wanted, "{path}");
    }
    for (old, new) in book.sources.iter().zip(&stitched.book.sources) {
        assert_eq!(outside(old, book.dialect), outside(new, book.dialect));
    }
    !edits.is_empty()
}

/// [`stitch_random`] as a fuzz target.
pub fn stitch_any(data: &[u8]) {
    stitch_random(data);
}

/// A book on disk for [`wrap`].
fn wrapped() -> &'static tempfile::TempDir {
    static BOOK: OnceLock<tempfile::TempDir> = OnceLock::new();
    BOOK.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let book = Book::new([(
            "src/a.md",
            "```rust file=it.rs\nfn main() {\n    <<x>>\n}\n```\n\n```rust #x\nlet a = 1;\n```\n",
        )]);
        let program = tangle::program(&book).unwrap();
        let out = root.path().join("generated");
        let map = program.tangled.line_map(&book, &program.model);
        tangle::disk::write(&out, &program.tangled, &map, tangle::disk::Mode::Write).unwrap();
        assert!(out.join(map::FILE).is_file());
        fs::create_dir(root.path().join("src")).unwrap();
        fs::write(root.path().join("src/a.md"), book.sources[0].text()).unwrap();
        root
    })
}

/// Whatever a command prints passes; without a location in it, as it is.
pub fn wrap(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let root = wrapped().path();
    let mut locator = Locator::new(root, &root.join("generated"));
    let mut objects = Objects::new(Vec::new());
    let shown = Rewriter::new(&mut locator, &mut objects).text(&text);
    // Where a snippet goes on in another chapter, a line says so.
    assert!(shown.lines().count() >= text.lines().count());
    // What gdb lists has a tab and no location.
    if !text.contains("it.rs") && !text.contains('\t') {
        assert_eq!(shown, text);
    }
    let json = tangle::wrap::json::rewrite(&text, &mut locator, &mut objects);
    if let Some(json) = json.filter(|_| !text.contains("it.rs")) {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON stays JSON");
        assert_eq!(value(&json), value(&text));
    }
}
