//! Whether the tests have teeth: each rule of the world switch is taken out of a copy of the code, the module is built, and the
//! cases that ought to notice run. They must fail, and in the way that the table says.
//!
//! `make teeth` goes through all of them; `make test` through the few that are soon done.

mod common;
#[path = "teeth/rules.rs"]
mod rules;

use common::{Emulator, Machine, Ran, System, clean, top};
use rules::{RULES, Rule};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

/// Two of these at a time would be in each other's way.
static ONE: Mutex<()> = Mutex::new(());

/// The richest CPU of each emulator that the Host boots on.
fn machine(emulator: Emulator) -> Machine {
    match emulator {
        Emulator::Qemu => Machine { cpu: "max", smp: 2 },
        Emulator::Bochs => Machine {
            cpu: "arrow_lake",
            smp: 1,
        },
    }
}

fn run(name: &str, system: &System, emulator: Emulator, cases: &str) -> Ran {
    system.in_vm(
        name,
        machine(emulator),
        &format!("LGUEST_KO=/modules/lguest.ko ./vmtests {cases} 2>&1"),
        "",
    )
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory for the copy");
    for entry in fs::read_dir(from).expect("the code, tangled") {
        let from = entry.expect("a directory").path();
        let to = to.join(from.file_name().expect("a file has a name"));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copying a file");
        }
    }
}

/// The code without a rule.
fn edited(rule: &Rule, at: &Path) {
    let _ = fs::remove_dir_all(at);
    for part in ["abi", "module"] {
        copy_tree(&top().join("generated").join(part), &at.join(part));
    }
    for (file, before, after) in rule.without {
        let path = at.join("module").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let found = text.matches(before).count();
        assert!(
            found == 1,
            "{file} has this {found} times, so that the table in tests/teeth/rules.rs is out of date:\n{before}"
        );
        fs::write(&path, text.replace(before, after)).expect("writing the copy");
    }
}

fn bites(name: &str) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rule = RULES
        .iter()
        .find(|rule| rule.name == name)
        .unwrap_or_else(|| panic!("there is no rule {name:?}"));
    let slug: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let dir = top().join("target/teeth");
    let overlay = dir.join("overlay");
    // The system first, since it is what the copy is made of.
    let _ = System::on(rule.shown_by, None);
    edited(rule, &dir.join("generated"));
    let built = clean(top().join("scripts/module-build"))
        .args([dir.join("generated/module"), dir.join("module")])
        .stdin(Stdio::null())
        .output()
        .expect("scripts/module-build can be run");
    assert!(
        built.status.success(),
        "without the rule that {name}, the module does not build:\n{}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
    fs::create_dir_all(overlay.join("modules")).expect("a directory for the module");
    fs::copy(
        dir.join("module/lguest.ko"),
        overlay.join("modules/lguest.ko"),
    )
    .expect("the module has been built");
    let system = System::on(rule.shown_by, Some(overlay));
    let ran = run(&format!("teeth-{slug}"), &system, rule.shown_by, rule.cases);
    if ran.status == 0 || ran.status == 69 {
        ran.fail(format_args!(
            "without the rule that {name}, all goes well, or the module is not even loaded"
        ));
    }
    let told = ran.tell("");
    if !told.contains(rule.sign) {
        ran.fail(format_args!(
            "without the rule that {name} things go wrong, but not so: {:?}",
            rule.sign
        ));
    }
}

/// With all rules in place the same cases pass, or they would prove nothing.
fn all_is_well_on(emulator: Emulator) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cases: Vec<&str> = RULES
        .iter()
        .filter(|rule| rule.shown_by == emulator)
        .map(|rule| rule.cases)
        .collect();
    run(
        &format!("teeth-none-{emulator:?}"),
        &System::on(emulator, None),
        emulator,
        &cases.join(" "),
    )
    .expect_status(0);
}

/// A test for each; what is not soon done waits for `make teeth`.
macro_rules! each {
    ($($(#[$attribute:meta])* $name:ident: $rule:literal;)+) => {
        $($(#[$attribute])* #[test] fn $name() { bites($rule); })+
        #[test]
        fn no_rule_is_left_out() {
            for rule in RULES {
                assert!([$($rule),+].contains(&rule.name), "nobody tries the rule that {}", rule.name);
            }
        }
    };
}

each! {
    global_pages_are_off: "global pages are off";
    #[ignore = "make teeth"] nobody_enters_with_global_pages_on: "nobody enters with global pages on";
    #[ignore = "make teeth"] what_a_table_said_is_forgotten: "what a table said is forgotten within a stay, too";
    #[ignore = "make teeth"] nothing_of_other_tables_is_remembered: "nothing of other tables is remembered";
    #[ignore = "make teeth"] supervisor_cet_is_clear: "S_CET is clear";
    lstar_leads_to_our_stub: "LSTAR leads to our stub";
    #[ignore = "make teeth"] what_was_lent_is_the_hosts_again: "LSTAR and the like are the Host's again";
    #[ignore = "make teeth"] sysenter_is_off: "SYSENTER is off";
    #[ignore = "make teeth"] dr7_is_clear: "DR7 is clear";
    #[ignore = "make teeth"] dr7_is_the_hosts_again: "DR7 is the Host's again";
    #[ignore = "make teeth"] fs_base_is_the_launchers_again: "the base of FS is the Launcher's again";
    #[ignore = "make teeth"] gs_base_is_the_launchers_again: "the base of GS is the Launcher's again";
    #[ignore = "make teeth"] the_local_table_is_the_launchers_again: "the local table is the Launcher's again";
    #[ignore = "make teeth"] the_hosts_tss_is_not_busy: "the Host's TSS is not busy when it is loaded";
    #[ignore = "make teeth"] the_task_register_is_loaded_while_the_gdt_can_be_written: "the task register is loaded while the GDT can be written";
    #[ignore = "make teeth"] the_fpu_is_the_guests_own: "the FPU's registers are the Guest's own";
    #[ignore = "make teeth"] pkru_is_the_launchers_again: "PKRU is the Launcher's again";
    #[ignore = "make teeth"] no_page_is_looked_for_while_something_changes: "no page is looked for while something changes";
    #[ignore = "make teeth"] what_was_seen_is_forgotten: "where the stack and the code are is forgotten with an entry";
    #[ignore = "make teeth"] invlpg_doubts_all_tables: "INVLPG doubts all tables";
    #[ignore = "make teeth"] a_fault_doubts_its_table: "a fault doubts the table that it came by";
}

#[test]
#[ignore = "make teeth"]
fn with_all_rules_qemu_finds_nothing() {
    all_is_well_on(Emulator::Qemu);
}

#[test]
#[ignore = "make teeth"]
fn with_all_rules_bochs_finds_nothing() {
    all_is_well_on(Emulator::Bochs);
}

/// Every rule must at least be somewhere in the code as the table has it, which costs nothing to know.
#[test]
fn the_table_is_up_to_date() {
    let dir = top().join("target/teeth/applied");
    for rule in RULES {
        edited(rule, &dir);
    }
}

/// The table as the page shows it.
fn table() -> String {
    let mut table = "| rule | in | shown by | without it |\n|---|---|---|---|\n".to_owned();
    for rule in RULES {
        let mut files: Vec<String> = rule
            .without
            .iter()
            .map(|(file, ..)| format!("`{file}`"))
            .collect();
        files.dedup();
        let end = match rule.sign {
            "the VM ended before the command did" => "the machine is reset".to_owned(),
            "the Host's kernel complained" => "the Host's kernel dies".to_owned(),
            sign => match sign.strip_prefix("FAIL ") {
                Some(case) => format!("`{case}` fails"),
                None => format!("the Host's kernel dies: \"{sign}\""),
            },
        };
        table += &format!(
            "| {} | {} | {} | {end} |\n",
            rule.name,
            files.join(", "),
            match rule.shown_by {
                Emulator::Qemu => "QEMU",
                Emulator::Bochs => "Bochs",
            }
        );
    }
    table
}

#[test]
fn the_page_has_the_table() {
    let page = fs::read_to_string(top().join("chapters/M200-teeth.md")).expect("the page");
    let table = table();
    assert!(
        page.contains(&table),
        "chapters/M200-teeth.md lacks this table:\n{table}"
    );
}
