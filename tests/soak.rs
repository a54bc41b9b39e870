//! What takes long to show, and is in no test of all: `make soak`. HOST=debug shows it on a kernel that watches itself.

mod common;

use common::{Machine, System};

/// What the environment says, or this.
fn asked(name: &str, otherwise: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Half an hour, or as many seconds as SOAK_SECONDS says.
fn seconds() -> u32 {
    asked("SOAK_SECONDS", 1800)
}

/// A Guest's four CPUs compute what is known already, again and again, and look for pages that were taken away, beside `lguest stat`.
#[test]
#[ignore = "half an hour: make soak"]
fn four_cpus_go_on_and_on_beside_somebody_who_looks() {
    let script = format!(
        "mkfifo keys; lguest run --cpus 4 /guests/guest init=/bin/sh <keys >said & guest=$!; exec 3>keys
        until grep -q 'CPUs are at work' said; do sleep 0.1; done
        lguest stat --json $guest >looks & stat=$!
        end=$(($(date +%s) + {})) rounds=0
        while [ $(date +%s) -lt $end ]; do
            rounds=$((rounds + 1))
            printf 'primes 600000\nforget 50\nhammer 5 1000 9\n' >&3
            until [ $(grep -c 'all have come to an end' said) = $rounds ]; do
                kill -0 $guest || {{ tail said; exit 1; }}
                sleep 0.5
            done
            [ $((rounds % 20)) = 1 ] && echo $rounds rounds
        done
        kill -INT $stat; wait $stat; echo stat $?
        echo 'exit 6' >&3; wait $guest; echo ended $?
        echo $rounds $(grep -c '^49098 primes' said) $(grep -c ', 0 were seen afterwards' said) $(($(wc -l <looks) > {} / 4))
        tail -n 1 looks",
        seconds(),
        seconds()
    );
    let machine = Machine { cpu: "max", smp: 2 };
    let system = System::whole().clone().within(seconds() + 1500);
    let ran = system.in_vm("soak-cpus", machine, &script, "");
    ran.lines.iter().for_each(|line| println!("{line}"));
    ran.expect_status(0).expect_lines(&["stat 0", "ended 6"]);
    let sums = ran.lines.iter().filter(|line| {
        let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [rounds, primes, pages, 1] if rounds > 0 && rounds == primes && rounds == pages)
    });
    if sums.count() != 1 {
        ran.fail("expected every round to have counted right, and no page to be seen that was taken away");
    }
}

/// Open, run and end, or be killed, ten thousand times each, or as often as SOAK_LIVES says: the Host has all its memory again.
#[test]
#[ignore = "a long time: make soak"]
fn lives_by_the_ten_thousand_leave_nothing() {
    let lives = asked("SOAK_LIVES", 10_000);
    let script =
        format!("LIVES={lives} LGUEST_KO=/modules/lguest.ko ./vmtests life/leaves-no-memory");
    let machine = Machine { cpu: "max", smp: 2 };
    let system = System::whole().clone().within(4 * 3600);
    let ran = system.in_vm("soak-lives", machine, &script, "");
    ran.lines.iter().for_each(|line| println!("{line}"));
    ran.expect_status(0);
}
