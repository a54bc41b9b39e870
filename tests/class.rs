//! A class is graded, and what somebody has handed in to harm the grader harms nobody else.
//!
//! `scripts/confine` is tried with what it must hold; `lab grade-all` with submissions that are no chapters, and with those in
//! `labs/wrong/grader`, each of which says in its first lines how it must end. None of that boots a VM: the class of thirty, killed in the
//! middle, does (`cargo test --test class -- --ignored`).

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use common::{clean, make, top};

/// A new directory below target/class.
fn directory(name: &str) -> PathBuf {
    let path = top().join("target/class").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("target can be written to");
    path
}

fn confine() -> Command {
    clean(top().join("scripts/confine"))
}

/// Says why this machine cannot confine anybody, if it cannot.
fn cannot_confine(mut confine: Command) -> Option<String> {
    let output = confine
        .arg("--works")
        .output()
        .expect("the script is there");
    (!output.status.success()).then(|| said(&output))
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

/// What somebody tries in there, and how that must end.
struct Attempt {
    name: &'static str,
    options: &'static [&'static str],
    script: &'static str,
    /// The verdict begins so.
    verdict: &'static str,
    /// This must be printed.
    prints: &'static str,
}

const ATTEMPTS: [Attempt; 17] = [
    Attempt {
        name: "it works in its directory and nowhere else",
        options: &[],
        script: "echo a >here && echo b >/tmp/there && cat here /tmp/there && ! touch /usr/x /etc/x \"$1/x\" /x 2>/dev/null && echo held",
        verdict: "ended 0",
        prints: "a\nb\nheld\n",
    },
    Attempt {
        name: "its status is known",
        options: &[],
        script: "exit 7",
        verdict: "ended 7",
        prints: "",
    },
    Attempt {
        name: "its mounts cannot be undone",
        options: &[],
        script: "for it in / /usr /etc \"$1\"; do ! mount -o remount,bind,rw $it 2>/dev/null || exit 3; ! umount -l $it 2>/dev/null || exit 4; done; echo held",
        verdict: "ended 0",
        prints: "held\n",
    },
    Attempt {
        name: "it has no network",
        options: &[],
        script: "cat /proc/net/route | wc -l; ! timeout 2 bash -c ': </dev/tcp/127.0.0.1/22' 2>/dev/null && echo held",
        verdict: "ended 0",
        prints: "held\n",
    },
    Attempt {
        name: "it sees no homes, no devices and no other processes",
        options: &[],
        script: "! ls /home /root/.ssh /dev/kvm /dev/sda /dev/vda /sys/fs >/dev/null 2>&1 && ls -d /proc/[0-9]* | wc -l | awk '$1 < 8 { print \"held\" }'",
        verdict: "ended 0",
        prints: "held\n",
    },
    Attempt {
        name: "it cannot look into the one process that holds it",
        options: &[],
        script: "! cat /proc/1/environ 2>/dev/null && ! ls /proc/1/root/ 2>/dev/null && ! nsenter --target 1 --mount true 2>/dev/null && kill -9 1 2>/dev/null; sleep 0.5; echo held",
        verdict: "ended 0",
        prints: "held\n",
    },
    Attempt {
        name: "it knows nothing of our environment",
        options: &["--set", "KNOWN=yes"],
        script: "env | grep -E 'SECRET|KNOWN'",
        verdict: "ended 0",
        prints: "KNOWN=yes\n",
    },
    Attempt {
        name: "it can make the mounts that a build needs",
        options: &[],
        script: "mkdir m && mount -t tmpfs none m && touch m/x && ls m",
        verdict: "ended 0",
        prints: "x\n",
    },
    Attempt {
        name: "it sleeps for too long",
        options: &["--time", "2"],
        script: "sleep 100",
        verdict: "time",
        prints: "stopped after 2 s",
    },
    Attempt {
        name: "it is deaf",
        options: &["--time", "2"],
        script: "trap '' TERM INT HUP; while :; do sleep 1; done",
        verdict: "time",
        prints: "",
    },
    Attempt {
        name: "it forks",
        options: &["--processes", "60", "--time", "6"],
        script: "b() { b | b & }; b 2>/dev/null; sleep 60",
        verdict: "",
        prints: "",
    },
    Attempt {
        name: "it leaves something behind",
        options: &[],
        script: "setsid nohup sleep 7331 >/dev/null 2>&1 & echo gone",
        verdict: "ended 0",
        prints: "gone\n",
    },
    Attempt {
        name: "it eats memory",
        options: &["--memory", "200M", "--time", "60"],
        script: "x=$(head -c 700M /dev/zero | tr '\\0' x); echo survived",
        verdict: "memory",
        prints: "more than 200M of memory",
    },
    Attempt {
        name: "it writes large files",
        options: &["--file", "1M"],
        script: "head -c 3M /dev/zero >x 2>/dev/null; stat --format=%s x",
        verdict: "ended 0",
        prints: "1048576\n",
    },
    Attempt {
        name: "it writes many large files",
        options: &["--disk", "30M", "--time", "60"],
        script: "for i in $(seq 1000); do head -c 1M /dev/zero >x$i; sleep 0.02; done",
        verdict: "disk",
        prints: "more than 30M",
    },
    Attempt {
        name: "it writes many small files",
        options: &["--files", "300", "--time", "60"],
        script: "for i in $(seq 100000); do : >x$i; done",
        verdict: "disk",
        prints: "or 300 files",
    },
    Attempt {
        name: "it talks",
        options: &["--output", "100K", "--time", "60"],
        script: "yes",
        verdict: "output",
        prints: "printed more than 100K",
    },
];

/// Tries all of that with `confine`, a command to which options, a directory and a script are added.
fn tries(place: &Path, confine: &dyn Fn() -> Command) {
    let mut wrong = String::new();
    for attempt in &ATTEMPTS {
        let dir = place.join("it");
        let verdict = place.join("verdict");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let begun = Instant::now();
        let output = confine()
            .env("MY_SECRET", "1")
            .arg("--verdict")
            .arg(&verdict)
            .args(attempt.options)
            .arg(&dir)
            .args(["bash", "-c", attempt.script, "bash"])
            .arg(top())
            .output()
            .unwrap();
        let printed = said(&output);
        let verdict = fs::read_to_string(&verdict).unwrap_or_default();
        if !verdict.starts_with(attempt.verdict)
            || !printed.contains(attempt.prints)
            || begun.elapsed() > Duration::from_secs(70)
        {
            let end: Vec<char> = printed.chars().rev().take(300).collect();
            let end: String = end.into_iter().rev().collect();
            let seconds = begun.elapsed().as_secs();
            let _ = writeln!(
                wrong,
                "{}: {} after {seconds} s, printed {end:?}",
                attempt.name,
                verdict.trim()
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let left = processes("sleep 7331");
    assert!(left.is_empty(), "still there: {left:?}");
}

/// The command lines, of all processes here, that hold these words.
fn processes(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(words) {
            found.push(line);
        }
    }
    found
}

#[test]
fn what_is_confined_harms_nobody() {
    if let Some(why) = cannot_confine(confine()) {
        eprintln!("not tried:\n{why}");
        return;
    }
    tries(&directory("confined"), &confine);
}

/// Without root it does the same by other means.
#[test]
fn so_it_is_for_everybody() {
    let place = directory("confined-by-somebody");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let somebody = || {
        let mut command = clean("setpriv");
        command
            .args([
                "--reuid",
                "12345",
                "--regid",
                "12345",
                "--clear-groups",
                "env",
            ])
            .arg(format!("HOME={}", place.display()))
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .arg(top().join("scripts/confine"));
        command
    };
    if !is_root() {
        eprintln!("not tried: only root can be somebody else; the other test was nobody's else");
    } else if let Some(why) = cannot_confine(somebody()) {
        eprintln!("not tried:\n{why}");
    } else {
        tries(&place, &somebody);
    }
}

#[test]
fn who_confines_may_be_killed() {
    if let Some(why) = cannot_confine(confine()) {
        eprintln!("not tried:\n{why}");
        return;
    }
    let dir = directory("killed");
    for signal in ["TERM", "KILL"] {
        let mut child = confine()
            .arg(&dir)
            .args(["sh", "-c", "echo >begun; sleep 7332; :"])
            .spawn()
            .unwrap();
        wait_for("it begins", || dir.join("begun").exists());
        Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .unwrap();
        child.wait().unwrap();
        wait_for("everything has ended", || {
            processes("sleep 7332").is_empty()
        });
        fs::remove_file(dir.join("begun")).unwrap();
    }
}

#[test]
fn a_directory_that_is_a_link_leads_nowhere() {
    let dir = directory("links");
    fs::create_dir(dir.join("real")).unwrap();
    symlink("/usr", dir.join("real/vm")).unwrap();
    symlink("real", dir.join("link")).unwrap();
    let refused = |arguments: &[&str]| {
        let output = confine()
            .current_dir(&dir)
            .args(arguments)
            .arg("true")
            .output()
            .unwrap();
        assert!(
            !output.status.success() && said(&output).contains("no directory"),
            "{arguments:?}: {}",
            said(&output)
        );
    };
    refused(&["link"]);
    refused(&["--at", "/mnt", "vm", "real"]);
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "in vain: {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// `lab`, and all that it grades with.
fn lab() -> Command {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        if let Err(said) = make(&["lab-grader"]) {
            panic!("make lab-grader failed:\n{said}");
        }
    });
    clean(top().join("target/tangle/debug/lab"))
}

fn solution() -> String {
    let output = clean(top().join("target/tangle/debug/tangle"))
        .args(["lab", "solution"])
        .arg(first_lab())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn first_lab() -> PathBuf {
    let labs = fs::read_dir(top().join("labs"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("01-"))
    };
    labs.filter(|path| path.extension().is_some_and(|ext| ext == "md"))
        .find(named)
        .expect("there is a first lab")
}

/// A chapter of `labs/wrong/grader`, and how it must end.
struct Hostile {
    name: String,
    text: String,
    outcome: String,
    says: String,
    points: Option<String>,
    vm: bool,
}

fn hostile() -> Vec<Hostile> {
    let mut all = Vec::new();
    for entry in fs::read_dir(top().join("labs/wrong/grader"))
        .unwrap()
        .flatten()
    {
        let path = entry.path();
        let text = fs::read_to_string(&path).unwrap();
        let (head, body) = text
            .strip_prefix("---\n")
            .and_then(|text| text.split_once("---\n"))
            .expect("how it ends");
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        let (title, rest) = body.split_once('\n').unwrap();
        let begin = match value("on").as_deref() {
            Some("solution") => solution(),
            _ => format!("{}\n", title.replacen("# ", "# Lab 1: ", 1)),
        };
        all.push(Hostile {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            text: begin + rest,
            outcome: value("outcome").expect("an outcome"),
            says: value("says").unwrap_or_default(),
            points: value("points"),
            vm: value("vm").is_some(),
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(all.len() > 10);
    all
}

/// What was said of a submission: its outcome, points, reason and notes.
fn told(out: &Path, student: &str) -> String {
    let results = fs::read_dir(out.join("results").join(student))
        .unwrap_or_else(|error| panic!("{student}: {error}"));
    let file = results.flatten().next().expect("one").path();
    fs::read_to_string(file).unwrap()
}

/// The value of a key in JSON that is written one to a line.
fn field(json: &str, key: &str) -> String {
    let line = json
        .lines()
        .find_map(|line| line.strip_prefix(&format!("  \"{key}\": ")))
        .unwrap_or_else(|| panic!("no {key} in {json}"));
    line.trim_end_matches(',').trim_matches('"').to_owned()
}

/// All that lies in a directory, for a look whether something was changed.
fn listing(dir: &Path) -> Vec<String> {
    let output = clean("find")
        .arg(dir)
        .args(["-printf", "%P %s %m %T@\n"])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_is_no_chapter_gets_no_marks_and_the_others_are_graded() {
    if let Some(why) = cannot_confine(confine()) {
        eprintln!("not tried:\n{why}");
        return;
    }
    let class = directory("hostile/class");
    let out = top().join("target/class/hostile/out");
    let mut expected: Vec<(String, String, String)> = Vec::new();
    // Who takes all the time that there is has a test of its own.
    for one in hostile()
        .into_iter()
        .filter(|one| !one.vm && one.outcome != "unclear")
    {
        fs::write(class.join(format!("{}.md", one.name)), one.text).unwrap();
        expected.push((one.name, one.outcome, one.says));
    }
    // Twice ten thousand mistakes.
    let mut many = String::from(
        "# Lab 1: Many mistakes\n\n```rust #run a program, or say how long we have run +=\n",
    );
    for number in 0..20_000 {
        let _ = writeln!(many, "const C{number}: u8 = \"\";");
    }
    fs::write(class.join("many-mistakes.md"), many + "```\n").unwrap();
    fs::write(class.join("empty.md"), "").unwrap();
    fs::write(class.join("latin.md"), b"# Lab 1: Caf\xe9\n").unwrap();
    fs::File::create(class.join("huge.md"))
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    symlink("/etc/passwd", class.join("link.md")).unwrap();
    clean("mkfifo").arg(class.join("pipe.md")).status().unwrap();
    fs::create_dir(class.join("nothing")).unwrap();
    let odd = "-rf \u{202e}=1+1;$(touch x)\n\"'`.md";
    fs::write(
        class.join(odd),
        "# Lab 1: x\n\n```rust file=Makefile\n```\n",
    )
    .unwrap();
    fs::write(
        class.join("copied.md"),
        fs::read(class.join("does-not-compile.md")).unwrap(),
    )
    .unwrap();
    for (name, outcome, says) in [
        ("many-mistakes", "not-built", ""),
        ("empty", "not-read", "it is empty"),
        ("latin", "not-read", "no text in UTF-8"),
        ("huge", "not-read", "104857600 bytes"),
        ("link", "not-read", "link"),
        ("pipe", "not-read", "no file"),
        ("nothing", "not-read", "is called as a lab is"),
        (
            "copied",
            "not-built",
            "identical to what does-not-compile handed in",
        ),
    ] {
        expected.push((name.to_owned(), outcome.to_owned(), says.to_owned()));
    }
    let before = listing(&class);
    let grade = || {
        lab()
            .args(["grade-all", "--time", "5", "--memory", "1500M", "--out"])
            .arg(&out)
            .arg(&class)
            .output()
            .unwrap()
    };

    let first = grade();
    assert!(first.status.success(), "{}", said(&first));
    let marks = fs::read_to_string(out.join("marks.json")).unwrap();
    let mut wrong = String::new();
    for (name, outcome, says) in &expected {
        let told = told(&out, name);
        // Notes stand in the summary only: others may be handed in later.
        let noted = says.starts_with("identical") && marks.contains(says.as_str());
        if field(&told, "outcome") != *outcome
            || field(&told, "points") != "0"
            || !(noted || told.contains(says.as_str()))
        {
            let reason = field(&told, "reason");
            let _ = writeln!(
                wrong,
                "{name}: expected {outcome} {says:?}, got {} {reason:?}",
                field(&told, "outcome")
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}{}", said(&first));
    // Nobody has left anything anywhere.
    assert_eq!(before, listing(&class));
    assert!(!Path::new("/var/tmp/lguest-grader-was-here").exists());
    assert!(!Path::new("x").exists() && !top().join("escaped.rs").exists());
    let csv = fs::read_to_string(out.join("marks.csv")).unwrap();
    assert_eq!(csv.lines().count(), expected.len() + 2, "{csv}");
    assert!(
        csv.lines()
            .all(|line| !line.starts_with(['=', '-', '+', '@'])),
        "{csv}"
    );
    assert_eq!(
        fs::read_dir(out.join("reports")).unwrap().count(),
        expected.len() + 1
    );

    // All of it is known now; one that changes is graded anew.
    fs::write(class.join("empty.md"), " \n").unwrap();
    fs::write(
        class.join("latin.md"),
        "# Lab 1: Cafe\n\n```rust file=x\n```\n",
    )
    .unwrap();
    let second = grade();
    let text = said(&second);
    let known = expected.len();
    assert!(
        text.contains(&format!(
            "{} submissions, {known} of them graded already",
            known + 1
        )),
        "{text}"
    );
    assert_eq!(field(&told(&out, "latin"), "outcome"), "not-built");
}

#[test]
fn what_computes_forever_is_ended() {
    if let Some(why) = cannot_confine(confine()) {
        eprintln!("not tried:\n{why}");
        return;
    }
    let class = directory("forever/class");
    let out = top().join("target/class/forever/out");
    for one in hostile()
        .into_iter()
        .filter(|one| !one.vm && one.outcome == "unclear")
    {
        fs::write(class.join(format!("{}.md", one.name)), &one.text).unwrap();
        let output = lab()
            .args(["grade-all", "--time", "0.5", "--out"])
            .arg(&out)
            .arg(&class)
            .output()
            .unwrap();
        let told = told(&out, &one.name);
        assert_eq!(field(&told, "outcome"), "unclear", "{}", said(&output));
        assert!(told.contains(&one.says), "{told}");
        let ours = out.to_string_lossy().into_owned();
        wait_for("everything has ended", || processes(&ours).is_empty());
    }
}

#[test]
fn a_grader_that_is_killed_goes_on_where_it_was() {
    if let Some(why) = cannot_confine(confine()) {
        eprintln!("not tried:\n{why}");
        return;
    }
    let class = directory("resumed/class");
    let out = top().join("target/class/resumed/out");
    let mistake = fs::read_to_string(top().join("labs/wrong/grader/does-not-compile.md")).unwrap();
    let (_, body) = mistake.rsplit_once("---\n").unwrap();
    for student in 0..5 {
        let text = format!(
            "# Lab 1: of {student}\n{}",
            body.split_once('\n').unwrap().1
        );
        fs::write(class.join(format!("s{student}.md")), text).unwrap();
    }
    let mut grade = lab();
    grade
        .args(["grade-all", "--out"])
        .arg(&out)
        .arg(&class)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    let results = || fs::read_dir(out.join("results")).map_or(0, Iterator::count);
    let child = grade.spawn().unwrap();
    wait_for("the first is graded", || results() > 0);
    thread::sleep(Duration::from_millis(500));
    Command::new("kill")
        .args(["-s", "KILL", &child.id().to_string()])
        .status()
        .unwrap();
    child.wait_with_output().unwrap();
    let ours = out.to_string_lossy().into_owned();
    wait_for("everything has ended", || processes(&ours).is_empty());
    let known = results();
    assert!((1..5).contains(&known), "{known}");
    let second = grade.output().unwrap();
    let text = said(&second);
    assert!(
        second.status.success()
            && text.contains(&format!("5 submissions, {known} of them graded already")),
        "{text}"
    );
    for student in 0..5 {
        assert_eq!(
            field(&told(&out, &format!("s{student}")), "outcome"),
            "not-built"
        );
    }
    // ^C is kinder, and ends it as well.
    fs::remove_dir_all(&out).unwrap();
    let child = grade.spawn().unwrap();
    wait_for("it grades", || out.join("logs").exists());
    Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    wait_for("everything has ended", || processes(&ours).is_empty());
}

/// A class of thirty as there may be one: good ones, bad ones, some who copy, some who mean harm. It is killed twice.
#[test]
#[ignore = "boots some thirty VMs, which takes an hour"]
fn a_class_of_thirty_is_graded() {
    let class = directory("thirty/class");
    let out = top().join("target/class/thirty/out");
    let solution = solution();
    let starter = clean(top().join("target/tangle/debug/tangle"))
        .args(["lab", "starter"])
        .arg(first_lab())
        .output()
        .unwrap()
        .stdout;
    let mut expected: Vec<(String, String, Option<String>)> = Vec::new();
    let mut put = |name: String, text: &str, outcome: &str, points: Option<String>| {
        fs::write(class.join(format!("{name}.md")), text).unwrap();
        expected.push((name, outcome.to_owned(), points));
    };
    for one in hostile() {
        put(
            format!("bad-{}", one.name),
            &one.text,
            &one.outcome,
            one.points,
        );
    }
    // A wrong solution for each of the lab's tests, and more until there are thirty.
    let mut spoilt: Vec<PathBuf> = fs::read_dir(top().join("labs/wrong/01"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    spoilt.sort();
    for path in &spoilt {
        let text = fs::read_to_string(path).unwrap();
        let body = text.split_once('\n').unwrap().1;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        put(
            format!("wrong-{name}"),
            &format!("{solution}\n{body}"),
            "graded",
            None,
        );
    }
    put(
        "starter".to_owned(),
        &String::from_utf8(starter).unwrap(),
        "graded",
        Some("0".to_owned()),
    );
    for number in 0.. {
        let there = fs::read_dir(&class).unwrap().count();
        if there >= 30 {
            break;
        }
        put(
            format!("good-{number}"),
            &format!("{solution}\n<!-- {} -->\n", number / 2),
            "graded",
            None,
        );
    }
    let mut grade = lab();
    // What waits for ever waits that long.
    grade
        .args(["grade-all", "--time", "15", "--out"])
        .arg(&out)
        .arg(&class);
    let results = || fs::read_dir(out.join("results")).map_or(0, Iterator::count);
    for kill_at in [5, 12] {
        let mut child = grade.spawn().unwrap();
        let begun = Instant::now();
        while results() < kill_at && begun.elapsed() < Duration::from_secs(3600) {
            thread::sleep(Duration::from_secs(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let ours = out.to_string_lossy().into_owned();
        wait_for("everything has ended", || processes(&ours).is_empty());
    }
    let status = grade.status().unwrap();
    assert!(status.success());
    let mut wrong = String::new();
    for (name, outcome, points) in &expected {
        let told = told(&out, name);
        let got = (field(&told, "outcome"), field(&told, "points"));
        let full = field(&told, "of");
        let right = match points {
            Some(points) => got.1 == *points,
            None if name.starts_with("good") => got.1 == full,
            None if name.starts_with("wrong") => got.1 != full,
            None => got.1 != full,
        };
        let ended = got.0 == *outcome || (name.starts_with("bad") && got.0 == "unclear");
        if !right || !ended {
            let _ = writeln!(wrong, "{name}: expected {outcome} {points:?}, got {got:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
