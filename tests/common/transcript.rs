//! The transcripts in the chapters: what a page says that a command prints.
//!
//! A `console` fence begins with the command, `$ make run` or `$ make vm RUN='...'`, whose quotes may span several lines; all else
//! is what it prints. In a session with the Guest, what stands behind its prompt is typed to it. `AS_OF=TAG` in the command makes
//! it one of the system as it stands at the end of that chapter; without it, the whole system is meant. So it is with
//! `$ make vm TAPS=yes RUN='...'`, in a Host that has taps, and with
//! `$ make cases TESTS='...'`, which runs cases of `tests/vm`, and `$ make logic TESTS=...`, which needs no VM.

use super::{clean, top};
use std::fs;

const PROMPT: &str = "guest> ";
const MARK: &str = "@@ transcript";
/// Behind it: the status, and for how many seconds it ran.
const END: &str = "@@ ended";
/// How long one may take, in seconds. Even on a busy machine none takes a tenth of it.
const LIMIT: u32 = 400;

/// One fence of a chapter.
pub struct Transcript {
    /// Chapter and line.
    pub place: String,
    /// The tag of the chapter as of which it is true; that of the whole system has none.
    pub as_of: Option<String>,
    /// Whether it needs a VM with taps: `TAPS=yes`.
    pub taps: bool,
    /// What is run.
    command: Command,
    /// What is typed, or empty.
    input: String,
    /// What the page says is printed.
    printed: Vec<String>,
}

enum Command {
    /// What the shell in the VM is told.
    InVm(String),
    /// The arguments of make, on this machine.
    Make(Vec<String>),
}

impl Transcript {
    /// What is run, what is typed and what is printed, to tell it from others.
    pub fn whole(&self) -> String {
        let command = match &self.command {
            Command::InVm(command) => command,
            // As of which chapter is said elsewhere.
            Command::Make(arguments) => &arguments[..2].join(" "),
        };
        format!("{command}\n{}", self.printed.join("\n"))
    }

    /// The file of the chapter that shows it.
    pub fn chapter(&self) -> &str {
        self.place.split(':').next().unwrap_or_default()
    }

    /// Whether it is of something that happens in the VM.
    pub fn is_in_vm(&self) -> bool {
        matches!(self.command, Command::InVm(_))
    }
}

/// All transcripts of the book, in reading order.
pub fn all() -> Vec<Transcript> {
    let chapters = top().join("chapters");
    let summary = fs::read_to_string(chapters.join("SUMMARY.md")).expect("the book has a summary");
    let mut all = Vec::new();
    for link in summary.split("](").skip(1) {
        let name = link.split(')').next().unwrap_or_default();
        let text = fs::read_to_string(chapters.join(name)).expect("the summary names chapters");
        all.extend(of_chapter(name, &text));
    }
    all
}

fn of_chapter(chapter: &str, text: &str) -> Vec<Transcript> {
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
        let place = format!("{chapter}:{}", number + 1);
        found.extend(read(place, &mut inside));
        // Whatever was not read of a fence that is no transcript.
        inside.for_each(drop);
    }
    found
}

/// Reads the lines of a fence, if they are such a transcript.
fn read(place: String, lines: &mut impl Iterator<Item = String>) -> Option<Transcript> {
    let first = lines.next()?;
    let mut words = first.strip_prefix("$ make ")?;
    let program = take_word(&mut words);
    let as_of = words.strip_prefix("AS_OF=").map(|rest| {
        words = rest;
        take_word(&mut words).to_owned()
    });
    let taps = words
        .strip_prefix("TAPS=yes ")
        .map(|rest| words = rest)
        .is_some();
    match program {
        "run" if words.is_empty() => {
            let printed: Vec<String> = lines.collect();
            let typed = printed.iter().filter_map(|line| line.strip_prefix(PROMPT));
            Some(Transcript {
                place,
                as_of,
                taps,
                command: Command::InVm("lguest run /guests/guest".to_owned()),
                input: typed.map(|line| format!("{line}\n")).collect(),
                printed,
            })
        }
        "vm" => {
            let mut command = words.strip_prefix("RUN='")?.to_owned();
            while !command.ends_with('\'') {
                command = format!("{command}\n{}", lines.next()?);
            }
            command.pop();
            Some(Transcript {
                place,
                as_of,
                taps,
                command: Command::InVm(command),
                input: String::new(),
                printed: lines.collect(),
            })
        }
        "cases" => Some(Transcript {
            place,
            as_of,
            taps,
            command: Command::InVm(format!(
                "rmmod lguest; insmod /modules/lguest.ko fixed=1; LGUEST_KO=/modules/lguest.ko /extra/vmtests {}",
                tests(words)?
            )),
            input: String::new(),
            printed: lines.collect(),
        }),
        "logic" => Some(Transcript {
            place,
            command: Command::Make(
                ["logic".to_owned(), format!("TESTS={}", tests(words)?)]
                    .into_iter()
                    .chain(as_of.iter().map(|tag| format!("AS_OF={tag}")))
                    .collect(),
            ),
            as_of,
            taps,
            input: String::new(),
            printed: lines.collect(),
        }),
        _ => None,
    }
}

/// The words of `TESTS='...'`, quoted or one alone; none where nothing is said.
fn tests(words: &str) -> Option<&str> {
    match words.strip_prefix("TESTS=") {
        Some(tests) => Some(tests.trim_matches('\'')),
        None => words.is_empty().then_some(""),
    }
}

/// Takes the first word of a line, and the space behind it.
fn take_word<'a>(line: &mut &'a str) -> &'a str {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    *line = rest;
    word
}

/// A script for the shell in the VM that runs them one after the other, each announced by a line of its own.
pub fn script<'a>(all: impl IntoIterator<Item = &'a Transcript>) -> String {
    let mut script = String::from("cd /tmp\n");
    for (number, one) in all.into_iter().enumerate() {
        let Command::InVm(command) = &one.command else {
            panic!("{} is not of the VM", one.place);
        };
        script += "umount /tmp/* 2>/dev/null; rm -rf /tmp/*\n";
        script += &format!("cat >command <<'END OF COMMAND'\n{command}\nEND OF COMMAND\n");
        script += &format!("cat >input <<'END OF INPUT'\n{}END OF INPUT\n", one.input);
        // As after a boot: an empty directory, and a module just loaded, whose first Guest is Guest 1.
        // What the one before has left running is ended first.
        script += "killall -q -9 lguest vmtests\n";
        script += "while grep -q '^lguest ' /proc/modules && ! rmmod lguest 2>/dev/null; do sleep 0.1; done\n";
        script += "insmod /modules/lguest.ko\n";
        script += &format!("echo; echo '{MARK} {number}'; begun=$(cut -d . -f 1 /proc/uptime)\n");
        // One that hangs costs itself, not those behind it.
        script += &format!("timeout -s KILL {LIMIT} sh ./command <input 2>&1\n");
        script += &format!("echo; echo '{END}' $? $(($(cut -d . -f 1 /proc/uptime) - begun))\n");
    }
    script + "exit 0\n"
}

/// What the pages said that was not printed, given all that [`script`] has printed; and one line about each on standard output.
pub fn untrue<'a>(
    all: impl IntoIterator<Item = &'a Transcript>,
    printed: &[String],
) -> Vec<String> {
    let output = printed.join("\n");
    let mut parts = output.split(MARK).skip(1);
    let mut untrue = Vec::new();
    for (number, one) in all.into_iter().enumerate() {
        let part = parts.next().unwrap_or_default();
        let part = part.strip_prefix(&format!(" {number}")).unwrap_or(part);
        let (part, end) = part
            .split_once(END)
            .unwrap_or((part, " and all that came behind it is missing"));
        let end = end.lines().next().unwrap_or_default();
        let said = comparable(one.printed.iter().map(String::as_str));
        let saw = from_where_it_begins(&said, comparable(part.lines().skip(1)));
        untrue.extend(one.differs(&said, &saw, &format!("ended:{end}")));
    }
    untrue
}

/// The same of those that happen on this machine, which are run now.
pub fn untrue_here<'a>(all: impl IntoIterator<Item = &'a Transcript>) -> Vec<String> {
    let mut untrue = Vec::new();
    for one in all {
        let Command::Make(arguments) = &one.command else {
            panic!("{} is of the VM", one.place);
        };
        let said = comparable(one.printed.iter().map(String::as_str));
        let made = clean("make").arg("--silent").args(arguments).output();
        let printed = made.expect("make can be run").stdout;
        let printed = String::from_utf8_lossy(&printed);
        // What tangle says of the files that it has looked at is not the command's.
        let saw = printed.lines().filter(|line| !is_of_tangle(line));
        untrue.extend(one.differs(&said, &comparable(saw), "here"));
    }
    untrue
}

fn is_of_tangle(line: &str) -> bool {
    line.contains(" files, ")
}

impl Transcript {
    /// Says whether the page and what was printed agree; if not, how they differ.
    fn differs(&self, said: &[String], saw: &[String], end: &str) -> Option<String> {
        let verdict = if saw == said { "ok" } else { "FAIL" };
        println!("{verdict} {} ({end})", self.place);
        (saw != said).then(|| {
            format!(
                "{} ({end}) says\n    {}\nbut this was printed\n    {}",
                self.place,
                said.join("\n    "),
                saw.join("\n    ")
            )
        })
    }
}

/// Lines as they are compared. An empty prompt at the end is the Guest waiting for input that has ended; addresses of
/// instructions and lines of the source are the compiler's affair, and the NUL at the end of a reason shows nowhere.
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

/// A line with `at 0x1234` and `.md:12` cut down to what does not change from build to build.
fn without_places(line: &str) -> String {
    let mut rest = line.trim_end_matches(['\0', ' ']);
    let mut kept = String::new();
    while let Some((place, mark)) = ["at 0x", ".md:", ".rs:"]
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
