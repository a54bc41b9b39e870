//! The Guest's processes: what its shell in ring 3 can do, and what no program can do to the others.

mod common;

use common::{Machine, Ran, in_vm};

/// What a reader's `make run` uses.
const USUAL: Machine = Machine { cpu: "max", smp: 2 };

/// Types these lines to `sh`, which the Guest begins with.
fn shell(name: &str, options: &str, lines: &[&str]) -> Ran {
    let input = lines.join("\n") + "\n";
    let command = format!("lguest run {options} /guests/guest init=/bin/sh");
    in_vm(name, USUAL, &command, &input)
}

/// The lines that were printed after this one was typed, up to the next prompt.
fn answer<'a>(ran: &'a Ran, typed: &str) -> Vec<&'a str> {
    let prompt = format!("$ {typed}");
    let after = ran.lines.iter().skip_while(|line| **line != prompt).skip(1);
    let lines: Vec<&str> = after
        .map(String::as_str)
        .take_while(|line| !line.starts_with("$ "))
        .collect();
    if !ran.lines.contains(&prompt) {
        ran.fail(format_args!("expected somebody to have typed: {typed}\n"));
    }
    lines
}

/// Fails unless each of these lines was answered by these.
fn expect_answers(ran: &Ran, wanted: &[(&str, &[&str])]) {
    for (typed, lines) in wanted {
        let answered = answer(ran, typed);
        if answered != *lines {
            ran.fail(format_args!(
                "{typed}\n  wanted {lines:?}\n  was answered {answered:?}\n"
            ));
        }
    }
}

#[test]
fn the_shell_understands_pipes_files_quotes_and_status() {
    let dialogue: &[(&str, &[&str])] = &[
        ("echo one   two", &["one two"]),
        (
            "echo 'one   two' \"and $?\" back\\ slash",
            &["one   two and 0 back slash"],
        ),
        (
            "seq 200 | grep 9 | sort -r | head -4 | cat",
            &["99", "98", "97", "96"],
        ),
        ("seq 5 | cat | cat | cat | wc", &["5 5 10"]),
        ("yes again | head -2", &["again", "again"]),
        ("wc < /dev/null", &["0 0 0"]),
        ("echo gone > /dev/null", &[]),
        ("false", &[]),
        ("echo $?", &["1"]),
        (
            "false && echo no || echo yes; true && echo yes",
            &["yes", "yes"],
        ),
        ("nothing", &["sh: nothing: there is no such program"]),
        ("echo $?", &["1"]),
        ("cat /nowhere", &["cat: /nowhere: there is no such name"]),
        ("echo a |", &["sh: a command is missing"]),
        ("echo 'a", &["sh: a quote is not closed"]),
        ("sh -c 'echo inner | cat; exit 7'", &["inner"]),
        ("hello", &["Hello from ring 3."]),
    ];
    let lines: Vec<&str> = dialogue
        .iter()
        .map(|(typed, _)| *typed)
        .chain(["exit 9"])
        .collect();
    let ran = shell("processes-shell", "", &lines);
    ran.expect_status(9);
    // A line that was typed twice is looked up once.
    expect_answers(&ran, dialogue);
}

/// Ten sums are right while a spinner, two of them, want the CPU as well; and the spinners have had their share.
#[test]
fn who_spins_does_not_stop_the_others() {
    let mut lines = vec!["spin &", "spin &"];
    lines.extend(["seq 1000 | wc &"; 9]);
    lines.extend([
        "seq 1000 | wc",
        "sleep 1",
        "ps | grep spin | grep -c ready",
        "exit",
    ]);
    let ran = shell("processes-spin", "", &lines);
    ran.expect_status(0);
    let sums = ran
        .lines
        .iter()
        .filter(|line| line.ends_with("1000 1000 3893"))
        .count();
    if sums != 10 {
        ran.fail(format_args!("expected ten sums, and found {sums}\n"));
    }
    expect_answers(&ran, &[("ps | grep spin | grep -c ready", &["2"])]);
}

/// What is free before and after, to the byte.
#[test]
fn a_thousand_programs_leak_nothing() {
    let input = "sh\nspawns 3 true\nseq 3 | cat | wc\nexit\nuptime\n\
                 sh\nspawns 400 true\nspawns 100 trespass | wc\nspawns 100 cat < /dev/null\nseq 3 | cat | wc\nexit\nuptime\n";
    let ran = in_vm("processes-leak", USUAL, "lguest run /guests/guest", input);
    ran.expect_status(0)
        .expect_lines(&["400 have ended", "100 have ended"]);
    let free: Vec<&str> = ran
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("up ")?.split(", ").nth(1))
        .collect();
    if free.len() != 2 || free[0] != free[1] {
        ran.fail(format_args!("expected as much free as before: {free:?}\n"));
    }
}

#[test]
fn who_uses_memory_up_dies_alone() {
    let ran = shell(
        "processes-memory",
        "-m 24M",
        &[
            "sleep 3600 &",
            "eat given",
            "eat promised",
            "echo $?",
            "eat stack",
            "seq 2000 | sort -n | tail -1",
            "ps | grep -c sleep",
            // While this one has it all, a pipe is refused: nothing more is asked for.
            "eat given &",
            "exit 3",
        ],
    );
    ran.expect_status(3);
    let starts = |typed: &str, with: &str| {
        if !answer(&ran, typed)
            .iter()
            .any(|line| line.starts_with(with))
        {
            ran.fail(format_args!("{typed}: expected: {with}\n"));
        }
    };
    starts("eat given", "refused in the end, with megabytes");
    starts("eat promised", "eat: killed: no memory is left for 0x");
    starts("echo $?", "137");
    starts("eat stack", "eat: killed: at 0x");
    starts("seq 2000 | sort -n | tail -1", "2000");
    expect_answers(&ran, &[("ps | grep -c sleep", &["1"])]);
}

/// A process holds all memory, and the shell opens files, and programs to be started. It hears that there is no memory; the kernel
/// lives, and the disk is whole.
#[test]
fn a_kernel_without_memory_refuses_files_and_lives() {
    let script = "mkdir -p /tmp/d; seq 1 50000 >/tmp/d/numbers; lguest disk make --size 4M --from /tmp/d /tmp/disk
        mkfifo keys screen
        lguest run -m 12M --block /tmp/disk /guests/guest init=/bin/sh <keys >screen &
        exec 3>keys 4<screen
        await() { while read -r line <&4; do echo \"$line\"; case $line in *\"$1\"*) return;; esac; done; }
        printf 'eat held &\n' >&3
        await 'in my hands'
        printf 'ls /\ncat < /numbers\necho x > /new\nexit 3\n' >&3
        cat <&4; wait $!; echo \"ended $?\"
        lguest disk check /tmp/disk && echo whole";
    let ran = in_vm("processes-no-memory", USUAL, script, "");
    ran.expect_status(0).expect_lines(&[
        "sh: ls: there is no memory",
        "sh: /numbers: there is no memory",
        "sh: /new: there is no memory",
        "ended 3",
        "whole",
    ]);
}

/// A line that somebody was reading when ^C ended it is not handed to the next reader, nor is the rest of one that was read in part.
#[test]
fn ctrl_c_forgets_the_line_that_was_being_typed() {
    let script = "mkfifo keys screen
        lguest run /guests/guest init=/bin/sh <keys >screen &
        exec 3>keys 4<screen
        await() { while read -r line <&4; do echo \"$line\"; case $line in *\"$1\"*) return;; esac; done; }
        printf 'echo ready; cat\n' >&3
        await '$ echo ready'
        await 'ready'
        # Without an end, and the echo of a key says that it has been read.
        printf 'echo left behind' >&3
        dd bs=1 count=16 <&4 >part 2>/dev/null
        printf '\\003' >&3
        printf 'echo status $?\nexit 8\n' >&3
        cat <&4
        wait $!
        echo \"ended $?\"";
    let ran = in_vm("processes-line", USUAL, script, "");
    ran.expect_status(0)
        .expect_lines(&["status 137", "ended 8"]);
    if ran.lines.iter().any(|line| line == "left behind") {
        ran.fail("expected nobody to be handed the line that was not finished");
    }
}

#[test]
fn whatever_a_program_asks_the_kernel_and_the_others_live() {
    let ran = shell(
        "processes-hammer",
        "",
        &[
            "hammer 5 2000 1 &",
            "seq 3000 | sort -n | tail -1",
            "hammer 5 2000 2",
            "trespass",
            "seq 3000 | sort -r -n | cat | cat | head -1",
            "exit 4",
        ],
    );
    ran.expect_status(4).expect_lines(&[
        "5 children: all have come to an end",
        "Let me see what the kernel has there.",
    ]);
    expect_answers(
        &ran,
        &[("seq 3000 | sort -r -n | cat | cat | head -1", &["3000"])],
    );
}

#[test]
fn what_runs_in_the_background_goes_on_without_its_shell() {
    let input = "sh\nsleep 1 && echo later\nspin &\nexit\nuptime\nhello\nsh\nps | grep -c spin\nexit 2\nexit 6\n";
    let ran = in_vm(
        "processes-background",
        USUAL,
        "lguest run /guests/guest",
        input,
    );
    ran.expect_status(6).expect_lines(&[
        "later",
        "hello: ended with status 0",
        "/bin/sh: ended with status 2",
        "guest> exit 6",
    ]);
    expect_answers(&ran, &[("ps | grep -c spin", &["1"])]);
}

/// Somebody starts what never ends, and presses ^C when it has begun: the shell is there again, and knows what happened.
#[test]
fn ctrl_c_ends_a_job_and_not_its_shell() {
    // The keys come one after the other, each when what it is about has been printed.
    let script = "mkfifo keys screen
        lguest run /guests/guest init=/bin/sh <keys >screen &
        exec 3>keys 4<screen
        await() { while read -r line <&4; do echo \"$line\"; case $line in *\"$1\"*) return;; esac; done; }
        echo 'spin | cat' >&3
        await Round
        printf '\\003' >&3
        printf 'echo status $?\\nyes | cat > /dev/null &\\nseq 3\\nexit 8\\n' >&3
        await 'status'
        await 'status'
        cat <&4
        wait $!
        echo \"ended $?\"";
    let ran = in_vm("processes-interrupt", USUAL, script, "");
    ran.expect_status(0)
        .expect_lines(&["status 137", "3", "ended 8"]);
}

/// A Guest of four CPUs on Hosts with fewer, and with as many: each of its CPUs counts, what they count together is right, and no page
/// that was taken away is seen by another CPU.
#[test]
fn who_has_four_cpus_computes_on_all_of_them() {
    for smp in [1, 2, 4] {
        let input = "primes 600000\nforget 50\nhammer 5 1000 9\nexit 6\n";
        let ran = in_vm(
            &format!("processes-four-on-{smp}"),
            Machine { cpu: "max", smp },
            "lguest run --cpus 4 /guests/guest init=/bin/sh",
            input,
        );
        ran.expect_status(6).expect_lines(&[
            "4 CPUs are at work.",
            "50 pages were taken away, 0 were seen afterwards",
            "5 children: all have come to an end",
        ]);
        let counted = answer(&ran, "primes 600000");
        let by_cpu = |cpu| {
            let begin = format!("CPU {cpu}: ");
            counted.iter().any(|line| line.starts_with(&begin))
        };
        let sum = |line: &&str| line.starts_with("49098 primes below 600000, ");
        if !counted.iter().any(sum) || !(0..4).all(by_cpu) {
            ran.fail(format_args!(
                "expected four CPUs to count right: {counted:?}\n"
            ));
        }
    }
}

/// One CPU of the Host, and two Guests of four CPUs, all of which have a program that never ends. Who has something to do gets it done, in
/// the Guest, beside it, and in the Host.
#[test]
fn a_guest_cpu_that_spins_starves_nobody() {
    let script = "spinners() { for n in 1 2 3 4 5; do echo 'spin &'; done; }
        { spinners; echo 'sleep 3600'; } | lguest run --cpus 4 /guests/guest init=/bin/sh >/dev/null &
        { spinners; echo 'seq 2000 | sort -n | tail -1'; echo 'primes 50000'; echo 'exit 7'; } |
            lguest run --cpus 4 /guests/guest init=/bin/sh
        status=$?
        seq 2000 | sort -n | tail -1
        kill $!
        exit $status";
    let one = Machine { cpu: "max", smp: 1 };
    let ran = in_vm("processes-spin-beside", one, script, "");
    ran.expect_status(7);
    let sorted = ran.lines.iter().filter(|line| *line == "2000").count();
    let primes = |line: &String| line.starts_with("5133 primes below 50000, ");
    if sorted != 2 || !ran.lines.iter().any(primes) {
        ran.fail(format_args!("expected 2000 twice, and 5133 primes\n"));
    }
}
