//! Books written for `entangled-cli` tangle to the same files here, marker comments aside.
//!
//! Each directory in `tests/entangled` is a book with its `entangled.toml`; what `entangled-cli` 0.4.0 makes of it lies in
//! `expected`, without the markers. With `entangled` in `PATH` it is made again and compared;
//! `SNAPSHOTS=overwrite PATH=...:$PATH cargo test --test entangled` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tangle::diagnostic::{self, Code, Format};
use tangle::disk::Project;
use tangle::source::Book;

type Files = BTreeMap<String, String>;

fn books() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/entangled");
    let mut books: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    books.sort();
    assert!(books.len() > 3);
    books
}

/// All files below `directory`.
fn files(directory: &Path) -> Files {
    let mut files = Files::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_files_are_those_of_the_other_tool() {
    for root in books() {
        let project = Project::open(&root).unwrap();
        let program = tangle::program(&project.book)
            .unwrap_or_else(|mistakes| panic!("{}", diagnostic::render(&project.book, &mistakes, Format::Human)));
        let ours: Files = program
            .tangled
            .files
            .into_iter()
            .map(|(path, file)| (path, file.text))
            .collect();
        assert_eq!(ours, files(&root.join("expected")), "{}", root.display());
    }
}

#[test]
fn the_other_tool_still_makes_them() {
    let version = Command::new("entangled").arg("--version").output();
    let Some(version) = version.ok().filter(|output| output.stdout.ends_with(b" 0.4.0\n")) else {
        eprintln!("skipped: there is no entangled-cli 0.4.0 in PATH");
        return;
    };
    assert!(version.status.success());
    for root in books() {
        let copy = tempfile::tempdir().unwrap();
        for (path, text) in files(&root)
            .into_iter()
            .filter(|(path, _)| !path.starts_with("expected"))
        {
            let path = copy.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let settings = fs::read_to_string(root.join("entangled.toml")).unwrap();
        fs::write(
            copy.path().join("entangled.toml"),
            format!("output_dir = \"expected\"\n{settings}"),
        )
        .unwrap();
        let output = Command::new("entangled")
            .arg("tangle")
            .current_dir(copy.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs: Files = files(&copy.path().join("expected"))
            .into_iter()
            .map(|(path, text)| (path, without_markers(&text)))
            .collect();
        if std::env::var("SNAPSHOTS").is_ok_and(|wanted| wanted == "overwrite") {
            fs::remove_dir_all(root.join("expected")).unwrap();
            for (path, text) in &theirs {
                let path = root.join("expected").join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        assert_eq!(theirs, files(&root.join("expected")), "{}", root.display());
    }
}

/// The lines that are not `COMMENT ~/~ begin <<...>>` or `COMMENT ~/~ end`.
fn without_markers(text: &str) -> String {
    text.split_inclusive('\n')
        .filter(|line| !line.contains(" ~/~ begin <<") && !line.trim_end().ends_with(" ~/~ end"))
        .collect()
}

/// The mistakes in a chapter of a book whose `entangled.toml` says `settings`.
fn mistakes(settings: &str, chapter: &str) -> Vec<(Code, Option<String>)> {
    let book = Book {
        dialect: tangle::dialect::Dialect::choose(Some("entangled"), Some(settings)).unwrap(),
        ..Book::new([("src/a.md", chapter)])
    };
    let mistakes = tangle::program(&book).map_or_else(|mistakes| mistakes, |_| Vec::new());
    mistakes
        .into_iter()
        .map(|mistake| (mistake.code, mistake.help))
        .collect()
}

#[test]
fn what_the_other_tool_refuses_is_refused() {
    let twice = "```c file=a.c #a\n1\n```\n```c #a\n2\n```\n";
    let found = mistakes("", twice);
    let [(Code::DefinedTwice, Some(help))] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(help.contains("split_blocks = true"), "{help}");
    assert_eq!(mistakes("split_blocks = true", twice), []);
    let codes =
        |settings, chapter| -> Vec<_> { mistakes(settings, chapter).into_iter().map(|(code, _)| code).collect() };
    let split = "split_blocks = true";
    assert_eq!(
        codes(split, "```c #a file=a\n```\n```c #b file=a\n```\n"),
        [Code::FileTwice]
    );
    assert_eq!(
        codes(split, "```c #a file=a\n```\n```c #a file=b\n```\n"),
        [Code::FileTwice]
    );
    assert_eq!(codes("", "```c file=a\n<<b>>\n```\n"), [Code::UndefinedFragment]);
    // A file without a name belongs to no chapter, and so knows none of its names.
    assert_eq!(
        codes("", "```c file=a\n<<b>>\n```\n```c #b\n```\n"),
        [Code::UndefinedFragment]
    );
    assert_eq!(codes("", "```c #a file=a\n<<a>>\n```\n"), [Code::CyclicFragment]);
    assert_eq!(codes("", "```c #a\n<<a>>\n<<b>>\n```\n"), []);
    assert_eq!(codes("", "```c #a +=\n```\n"), [Code::BadHeader]);
}

#[test]
fn an_error_about_two_definitions_names_the_setting() {
    let book = Book::new([("a.md", "```c file=a #a\n1\n```\n```c #a\n2\n```\n")]);
    let mistakes = tangle::program(&book).unwrap_err();
    let help = mistakes[0].help.as_deref().unwrap();
    assert!(help.contains("dialect = \"entangled\""), "{help}");
}
