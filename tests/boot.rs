//! The book's own Guest, booted by its Launcher as a reader boots it.

mod common;

use common::{Machine, Ran, System, in_vm};

/// What a reader's `make run` uses.
const USUAL: Machine = Machine { cpu: "max", smp: 2 };

/// Runs the Guest with this input.
fn boot(name: &str, options: &str, input: &str) -> Ran {
    in_vm(name, USUAL, &format!("lguest run {options}"), input)
}

/// What it prints before it asks for anything, and then `rest`; the time-stamp counter is not the same everywhere.
fn expect_transcript(ran: &Ran, command_line: &str, rest: &[&str]) {
    let greeting = [
        "Hello from ring 1. I am Guest 1, with 64 MiB of memory.".to_owned(),
        format!("My command line is \"{command_line}\"."),
        "My page tables are my own now. Type help if you need it.".to_owned(),
    ];
    let printed: Vec<&str> = ran
        .lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.contains("time-stamp counter"))
        .collect();
    let wanted: Vec<&str> = greeting
        .iter()
        .map(String::as_str)
        .chain(rest.iter().copied())
        .collect();
    if printed != wanted {
        ran.fail(format_args!(
            "expected this transcript:\n{}\n",
            wanted.join("\n")
        ));
    }
}

#[test]
fn without_input_it_greets_and_powers_off() {
    let ran = boot("boot-no-input", "/guests/guest", "");
    ran.expect_status(0);
    expect_transcript(&ran, "", &["guest> "]);
}

/// A Host whose page tables lie above 4 GiB: the address of the Launcher's is kept in two halves.
#[test]
fn it_runs_where_memory_is_large() {
    let system = System::whole();
    let ran = system.in_vm_with(
        "boot-large",
        USUAL,
        "lguest run /guests/guest",
        "hello\nexit 7\n",
        "-m 5G",
    );
    ran.expect_lines(&["Hello from ring 3.", "hello: ended with status 0"])
        .expect_status(7);
}

#[test]
fn it_answers_what_it_is_told() {
    let ran = boot(
        "boot-answers",
        "/guests/guest",
        "good evening\n\nhello\nexit 7\n",
    );
    ran.expect_status(7);
    expect_transcript(
        &ran,
        "",
        &[
            "guest> good evening",
            "you said: good evening",
            "guest> ",
            "guest> hello",
            "Hello from ring 3.",
            "hello: ended with status 0",
            "guest> exit 7",
        ],
    );
}

#[test]
fn it_ends_programs_that_misbehave() {
    let ran = boot(
        "boot-programs",
        "/guests/guest",
        "trespass\nspin\nhello\nexit\n",
    );
    ran.expect_status(0).expect_lines(&[
        "guest> trespass",
        "Let me see what the kernel has there.",
        "guest> spin",
        "Round and round we go.",
        "spin: killed: its 50 ticks are used up",
        "guest> hello",
        "Hello from ring 3.",
        "hello: ended with status 0",
    ]);
    if !ran.lines.iter().any(|line| {
        line.starts_with("trespass: killed: at 0x") && line.contains("it touched 0xffffffff8")
    }) {
        ran.fail("expected the program that reads the kernel's memory to be killed");
    }
}

#[test]
fn it_knows_its_command_line() {
    let ran = boot(
        "boot-command-line",
        "/guests/guest quiet --not-an-option 'two words'",
        "exit 1\n",
    );
    ran.expect_status(1);
    expect_transcript(&ran, "quiet --not-an-option two words", &["guest> exit 1"]);
}

#[test]
fn its_clock_runs() {
    let ran = boot("boot-clock", "/guests/guest", "sleep 2\nuptime\nexit\n");
    ran.expect_status(0);
    let seconds = ran.lines.iter().find_map(|line| {
        line.strip_prefix("up ")?
            .split('.')
            .next()?
            .parse::<u64>()
            .ok()
    });
    if !seconds.is_some_and(|seconds| (2..60).contains(&seconds)) {
        ran.fail("expected it to be up for 2 seconds and a bit");
    }
}

#[test]
fn its_last_words_reach_the_user() {
    let ran = boot("boot-crash", "/guests/guest 2>&1", "crash all is lost\n");
    ran.expect_status(1);
    if !ran
        .lines
        .iter()
        .any(|line| line.starts_with("lguest: CRASH: ") && line.contains("all is lost"))
    {
        ran.fail("expected the Launcher to say the Guest's last words");
    }
}

#[test]
fn it_lives_in_little_memory_and_in_much() {
    for (memory, megabytes) in [("4M", 4), ("600M", 600)] {
        let ran = boot(
            &format!("boot-{memory}"),
            &format!("--memory {memory} /guests/guest"),
            "hello\nexit 5\n",
        );
        let greeting = format!("Hello from ring 1. I am Guest 1, with {megabytes} MiB of memory.");
        ran.expect_status(5)
            .expect_lines(&[&greeting, "Hello from ring 3.", "guest> exit 5"]);
    }
}

#[test]
fn several_live_side_by_side() {
    let script = "for i in 1 2 3 4; do (echo sleep 1; echo hello; echo exit $i) | lguest run /guests/guest >/tmp/out.$i & pids=\"$pids $!\"; done
        for p in $pids; do wait $p; echo \"status $?\"; done
        cat /tmp/out.* | grep -c 'Hello from ring 3.'
        cat /sys/module/lguest/refcnt";
    in_vm("boot-several", USUAL, script, "")
        .expect_status(0)
        .expect_lines(&["status 1", "status 2", "status 3", "status 4", "4", "0"]);
}

#[test]
fn what_is_no_guest_is_refused_in_words() {
    for (name, file) in [
        ("missing", "/nothing/there"),
        ("no-elf", "/init"),
        ("a-directory", "/bin"),
    ] {
        let ran = boot(&format!("boot-{name}"), &format!("{file} 2>&1"), "");
        ran.expect_status(1);
        if !ran
            .lines
            .iter()
            .any(|line| line.starts_with("lguest: ") && line.contains(file))
        {
            ran.fail(format_args!(
                "expected a message of the Launcher's that names {file}"
            ));
        }
    }
}

#[test]
fn without_the_module_it_says_what_to_do() {
    let shell = "rmmod lguest && lguest run /guests/guest 2>&1";
    let ran = in_vm("boot-no-module", USUAL, shell, "");
    ran.expect_status(1);
    let said = ran.lines.join("\n");
    if !said.contains("/dev/lguest") || !said.contains("insmod") {
        ran.fail("expected a message that names /dev/lguest and says how to load the module");
    }
}

/// The machines on which everything must work: with and without five levels and the newer features, with one CPU and several.
macro_rules! on_every_machine {
    ($($name:ident: $cpu:literal, $smp:literal;)+) => {
        $(
            #[test]
            fn $name() {
                let name = concat!("boot-", stringify!($name));
                let ran = in_vm(name, Machine { cpu: $cpu, smp: $smp }, "lguest run /guests/guest", "hello\nspin\nsome words\nexit 3\n");
                ran.expect_status(3);
                expect_transcript(&ran, "", &[
                    "guest> hello",
                    "Hello from ring 3.",
                    "hello: ended with status 0",
                    "guest> spin",
                    "Round and round we go.",
                    "spin: killed: its 50 ticks are used up",
                    "guest> some words",
                    "you said: some words",
                    "guest> exit 3",
                ]);
            }
        )+
    };
}

on_every_machine! {
    cpu_max_smp_1: "max", 1;
    cpu_max_smp_4: "max", 4;
    cpu_max_without_la57_smp_1: "max,-la57", 1;
    cpu_max_without_la57_smp_4: "max,-la57", 4;
    cpu_qemu64_smp_1: "qemu64", 1;
    cpu_qemu64_smp_4: "qemu64", 4;
}

/// What only the kernel can try, it tries by itself.
#[test]
fn it_keeps_what_it_promises_itself() {
    let ran = boot("boot-check", "/guests/guest check", "");
    ran.expect_status(0).expect_lines(&[
        "ok lazy/200 calls cost 4 visits",
        "ok lazy/a fault is not believed before the ring is empty",
        "ok lazy/a call at once comes after those in the ring",
    ]);
    if ran.lines.iter().any(|line| line.starts_with("FAIL")) {
        ran.fail("expected all promises to be kept");
    }
}

/// A Guest that dies before its bus is scanned has a console all the same.
#[test]
fn what_is_printed_early_is_not_lost() {
    let ran = boot("boot-early", "/guests/guest debug die 2>&1", "");
    ran.expect_status(1);
    let early: Vec<&str> = ran
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("early: "))
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect();
    if early != ["free", "4", "this"] || !ran.lines.iter().any(|line| line.contains("CRASH: as")) {
        ran.fail("expected three early lines and the Guest's last words");
    }
}

/// A trap in the kernel itself is told by the name of the function that it interrupted, and by those of its callers.
#[test]
fn an_early_fault_is_told_by_name() {
    let ran = boot("boot-fault", "/guests/guest fault 2>&1", "");
    ran.expect_status(1);
    let says = |text: &str| ran.lines.iter().any(|line| line.contains(text));
    let on_the_console = ran
        .lines
        .iter()
        .any(|line| line.starts_with("  0xffffffff8") && line.ends_with(" guest::lazy::touch"));
    if !says("CRASH: trap 14 ") || !says("in traps::trap < lazy::touch < ") || !on_the_console {
        ran.fail("expected the names of trap, of touch and of who called it");
    }
}
