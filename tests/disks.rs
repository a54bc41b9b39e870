//! The Guest's file system, from outside: disks that the tool makes, a Guest changes and the tool reads again; and disks of Guests
//! that were killed.

mod common;

use common::{Machine, in_vm};

/// What a reader's `make run` uses.
const USUAL: Machine = Machine { cpu: "max", smp: 2 };

/// A function for the scripts below: types its arguments, a line each, to the Guest's shell.
const GUEST: &str =
    "guest() { printf '%s\\n' \"$@\" | lguest run --block /tmp/disk /guests/guest init=/bin/sh; }";

#[test]
fn a_guest_changes_a_disk_and_the_tool_reads_it_again() {
    let script = format!(
        "{GUEST}
        mkdir -p /tmp/d/sub; echo hi >/tmp/d/hi; seq 1 20000 >/tmp/d/sub/numbers
        lguest disk make --size 4M --from /tmp/d /tmp/disk
        guest 'cat /hi' 'cp /sub/numbers /copy' 'mkdir /new' 'mv /copy /new/copy' 'rm /hi' 'echo text >/new/text' \
            'echo more >>/new/text' 'rm /sub' 'ls /' >said
        grep -x hi said; grep 'rm: ' said
        lguest disk check /tmp/disk && echo whole
        lguest disk list /tmp/disk | tr -s ' '
        lguest disk copy-out /tmp/disk /new /tmp/out && cmp /tmp/out/copy /tmp/d/sub/numbers && echo same
        cat /tmp/out/text
        lguest disk copy-out /tmp/disk /new /tmp/out 2>&1 | cut -c 1-17"
    );
    in_vm("disk-both-sides", USUAL, &script, "")
        .expect_status(0)
        .expect_lines(&[
            "hi",
            "rm: /sub: it is not empty",
            "whole",
            " /sub/",
            " 108894 /sub/numbers",
            " /new/",
            " 108894 /new/copy",
            " 10 /new/text",
            "same",
            "text",
            "more",
            "lguest: /tmp/out:",
        ]);
}

#[test]
fn a_program_on_the_disk_runs_and_comes_before_the_kernels() {
    let script = format!(
        "{GUEST}
        mkdir -p /tmp/d/bin; printf 'no program at all' >/tmp/d/bin/true
        lguest disk make --size 1M --from /tmp/d /tmp/disk
        guest 'cp /bin/echo /bin/say' '/bin/say it runs' 'rm /bin/say' true 'echo status $?' 'rm /bin/true' true 'echo status $?' >said
        grep -x 'it runs' said; grep -x 'status .*' said"
    );
    let ran = in_vm("disk-programs", USUAL, &script, "");
    ran.expect_status(0).expect_lines(&["it runs", "status 0"]);
    if ran
        .lines
        .iter()
        .filter(|line| line.starts_with("status"))
        .count()
        != 2
        || ran.lines.iter().filter(|line| *line == "status 0").count() != 1
    {
        ran.fail("expected the disk's file to be no program, and the kernel's to be one");
    }
}

#[test]
fn a_disk_is_filled_to_the_last_block() {
    let script = format!(
        "{GUEST}
        mkdir /tmp/d; seq 1 30000 >/tmp/d/a; lguest disk make --size 512K --from /tmp/d /tmp/disk
        guest 'cp /a /b' 'cp /a /c' df 'rm /b' df 'cp /a /b' >said
        grep 'disk is full' said; grep blocks said; lguest disk check /tmp/disk && echo whole"
    );
    let ran = in_vm("disk-full", USUAL, &script, "");
    ran.expect_status(0)
        .expect_lines(&["cp: /c: the disk is full", "whole"]);
    let free: Vec<&str> = ran
        .lines
        .iter()
        .filter_map(|line| line.split(", ").nth(1))
        .collect();
    if free.len() != 2 || free[0] != "0 free" || free[1] == "0 free" {
        ran.fail("expected a disk that is full, and then is not");
    }
}

/// Killed Launchers in a test of all; `KILLS=1000` asks for more.
const KILLS: u32 = 20;
/// So many in one VM, lest it runs too long.
const IN_A_VM: u32 = 100;

/// The Launcher is killed at some moment, again and again, while the Guest writes. What the Guest has synced must be there, the disk
/// whole, and nothing left in the Host.
#[test]
fn what_was_synced_survives_a_killed_launcher() {
    let kills = std::env::var("KILLS").ok().map(|kills| kills.parse());
    let kills = kills
        .transpose()
        .expect("KILLS is a number")
        .unwrap_or(KILLS);
    for first in (0..kills).step_by(IN_A_VM as usize) {
        kill_launchers(first, kills.min(first + IN_A_VM));
    }
}

/// Kills number `first` to `end`.
fn kill_launchers(first: u32, end: u32) {
    let script = format!(
        "shared() {{ awk '/^nr_shmem / {{ print $2 }}' /proc/vmstat; }}
        before=$(shared)
        lguest disk make --size 1M /tmp/disk
        chance={first}
        for round in $(seq {first} {last}); do
            for n in $(seq 1 60); do
                echo \"echo $round-$n >/file && sync && echo synced $round-$n end; cp /bin/sh /large; rm /large; mkdir /d$n; rm /d$n\"
            done >input
            : >said
            lguest run --block /tmp/disk /guests/guest init=/bin/sh <input >said 2>&1 &
            # Somewhere after one of the first syncs, or while it boots and mounts.
            chance=$(((chance * 1103515245 + 12345) & 0x7fffffff)); wanted=$((chance >> 8 & 7)); spins=$((chance >> 12 & 4095))
            [ $wanted = 0 ] || until grep -q \"^synced $round-$wanted \" said || ! kill -0 $!; do :; done
            while [ $spins -gt 0 ]; do spins=$((spins - 1)); done
            kill -9 $!; wait $!
            lguest disk check /tmp/disk || echo broken in round $round
            last=$(grep '^synced' said | tail -1 | cut -d' ' -f2)
            rm -f /tmp/file
            lguest disk copy-out /tmp/disk /file /tmp/file || [ -z \"$last\" ] || echo lost in round $round
            got=$(cat /tmp/file)
            [ -n \"$last\" ] || continue
            # The next one may have got there as well, without having been able to say so; or it was about to be written.
            next=$round-$((${{last#*-}} + 1))
            case $got in $last | $next | '') ;; *) echo \"wanted $last, found $got\" ;; esac
        done 2>/dev/null; echo survived $round
        rm -f /tmp/disk /tmp/file input said
        echo \"users $(cat /sys/module/lguest/refcnt)\"
        # One Guest alone has touched some 500 pages. The count is kept by each CPU, and a little behind.
        left=$(($(shared) - before)); [ $left -lt 256 ] && echo nothing is left || echo \"$left pages are left\"",
        last = end - 1,
    );
    let ran = in_vm(&format!("disk-killed-{first}"), USUAL, &script, "");
    ran.expect_status(0).expect_lines(&[
        &format!("survived {}", end - 1),
        "users 0",
        "nothing is left",
    ]);
    let spoiled = ["broken", "lost", "wanted"];
    if ran
        .lines
        .iter()
        .any(|line| spoiled.iter().any(|word| line.contains(word)))
    {
        ran.fail("expected disks that are whole, with what was synced");
    }
}
