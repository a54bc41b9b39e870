//! The transcripts in the chapters, run again: what a page shows is what a reader will see.
//!
//! A `console` fence begins with the command, `$ make run` or `$ make vm RUN='...'`; all else is what it prints. In a session
//! with the Guest, what stands behind its prompt is typed to it. All of them share one boot.

mod common;

use common::{Machine, in_vm, top};
use std::fs;

const PROMPT: &str = "guest> ";
const MARK: &str = "@@ transcript";

/// One fence of a chapter.
struct Transcript {
    /// Chapter and line.
    place: String,
    /// What the shell in the VM is told.
    command: String,
    /// What is typed, or empty.
    input: String,
    /// What the page says is printed.
    printed: Vec<String>,
}

/// All transcripts of a chapter that run in the VM.
fn transcripts(chapter: &str, text: &str) -> Vec<Transcript> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_end() != "```console" {
            continue;
        }
        let mut inside = lines
            .by_ref()
            .map(|(_, line)| line.trim_end().to_owned())
            .take_while(|line| line != "```");
        let first = inside.next().unwrap_or_default();
        let printed: Vec<String> = inside.collect();
        let place = format!("{chapter}:{}", number + 1);
        if first == "$ make run" {
            let typed = printed.iter().filter_map(|line| line.strip_prefix(PROMPT));
            let input = typed.map(|line| format!("{line}\n")).collect();
            let command = "lguest run /guests/guest".to_owned();
            found.push(Transcript {
                place,
                command,
                input,
                printed,
            });
        } else if let Some(command) = first
            .strip_prefix("$ make vm RUN='")
            .and_then(|rest| rest.strip_suffix('\''))
        {
            let command = command.to_owned();
            let input = String::new();
            found.push(Transcript {
                place,
                command,
                input,
                printed,
            });
        }
    }
    found
}

/// A script that runs them one after the other, each announced by a line of its own.
fn script(all: &[Transcript]) -> String {
    let mut script = String::from("cd /tmp\n");
    for (number, one) in all.iter().enumerate() {
        script += &format!(
            "cat >command <<'END OF COMMAND'\n{}\nEND OF COMMAND\n",
            one.command
        );
        script += &format!("cat >input <<'END OF INPUT'\n{}END OF INPUT\n", one.input);
        // A module just loaded, as after a boot: the first Guest is Guest 1.
        script += "rmmod lguest 2>/dev/null; insmod /modules/lguest.ko\n";
        script += &format!("echo; echo '{MARK} {number}'\nsh ./command <input 2>&1\n");
    }
    script + "exit 0\n"
}

/// Lines as they are compared. An empty prompt at the end is the Guest waiting for input that has ended; addresses of
/// instructions and lines of the source are the compiler's affair.
fn comparable<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = lines.map(without_places).collect();
    while lines
        .last()
        .is_some_and(|line| line.is_empty() || line == PROMPT.trim_end())
    {
        lines.pop();
    }
    lines
}

/// A line with `at 0x1234` and `.rs:12` cut down to what does not change from build to build.
fn without_places(line: &str) -> String {
    let mut rest = line.trim_end();
    let mut kept = String::new();
    while let Some((place, mark)) = ["at 0x", ".rs:"]
        .iter()
        .filter_map(|mark| Some((rest.find(mark)?, mark)))
        .min()
    {
        let end = place + mark.len();
        kept += &rest[..end];
        rest = rest[end..].trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
    }
    kept + rest
}

/// What was printed, from where the page begins: it may leave the greeting out.
fn from_where_it_begins(said: &[String], saw: Vec<String>) -> Vec<String> {
    match said.first() {
        Some(first) if first.starts_with(PROMPT) => saw
            .into_iter()
            .skip_while(|line| !line.starts_with(PROMPT))
            .collect(),
        _ => saw,
    }
}

#[test]
fn every_transcript_of_the_book_is_true() {
    let chapters = top().join("chapters");
    let summary = fs::read_to_string(chapters.join("SUMMARY.md")).expect("the book has a summary");
    let mut all = Vec::new();
    for link in summary.split("](").skip(1) {
        let name = link.split(')').next().unwrap_or_default();
        let text = fs::read_to_string(chapters.join(name)).expect("the summary names chapters");
        all.extend(transcripts(name, &text));
    }
    assert!(all.len() > 20, "only {} transcripts were found", all.len());

    let machine = Machine { cpu: "max", smp: 2 };
    let ran = in_vm("transcripts", machine, &script(&all), "");
    ran.expect_status(0);

    let output = ran.lines.join("\n");
    let mut parts = output.split(MARK).skip(1);
    let mut untrue = Vec::new();
    for (number, one) in all.iter().enumerate() {
        let part = parts.next().unwrap_or_default();
        let part = part.strip_prefix(&format!(" {number}")).unwrap_or(part);
        let said = comparable(one.printed.iter().map(String::as_str));
        let saw = from_where_it_begins(&said, comparable(part.lines().skip(1)));
        println!("{} {}", if saw == said { "ok" } else { "FAIL" }, one.place);
        if saw != said {
            untrue.push(format!(
                "{} says\n    {}\nbut this was printed\n    {}",
                one.place,
                said.join("\n    "),
                saw.join("\n    ")
            ));
        }
    }
    if !untrue.is_empty() {
        ran.fail(format_args!("{}\n", untrue.join("\n\n")));
    }
}
