//! Networks in the whole system: three Guests on a cable of which one is killed, a file that crosses a cable that loses packets, and
//! taps that go away or come back.

mod common;

use common::{Machine, Ran, System, in_vm};

/// What a reader's `make run` uses.
const USUAL: Machine = Machine { cpu: "max", smp: 2 };

/// How many pings were answered, in the order in which the answers were printed.
fn answered(ran: &Ran, who: &str) -> Vec<u32> {
    let lines = ran
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix(who)?.strip_prefix(": "));
    lines
        .filter_map(|rest| rest.strip_suffix(" pings were answered"))
        .filter_map(|rest| rest.split_once(" of ")?.0.parse().ok())
        .collect()
}

/// The first Guest pings the second 6000 times and the third pings the first 4000 times. In the middle the second is killed without
/// a word and started again.
#[test]
fn ten_thousand_pings_of_which_few_are_lost_though_a_guest_is_killed() {
    let script = r#"guest="lguest run -m 16M --sharenet cable /guests/guest"
        for n in 1 2 3; do mkfifo keys$n; done
        # Each is awaited: the order decides who gets which address.
        start() { $guest <keys$1 >said$1 2>&1 & eval pid$1=$!; eval "exec $((2 + $1))>keys$1"; until grep -q 'guest>' said$1; do :; done; }
        start 1; start 2; start 3
        printf 'ping 10.0.0.2 2000\nping 10.0.0.2 2000\nping 10.0.0.2 2000\n' >&3
        echo 'ping 10.0.0.1 4000' >&5
        until grep -q '10.0.0.2: .* answered' said1; do :; done
        kill -9 $pid2; wait $pid2 2>/dev/null; exec 4>&-; : >said2
        start 2
        until [ $(grep -c '10.0.0.2: .* answered' said1) = 3 ]; do sleep 0.1; done
        until grep -q '10.0.0.1: .* answered' said3; do sleep 0.1; done
        echo net >&4
        for n in 1 2 3; do echo 'exit 3' >&$((2 + n)); eval "wait \$pid$n"; echo "ended $?"; done
        grep -h answered said1 said3; grep card said2"#;
    let ran = in_vm("wires-pings", USUAL, script, "");
    ran.expect_status(0).expect_lines(&["ended 3"; 3]);
    let second = answered(&ran, "10.0.0.2");
    // Whoever is killed cannot answer; before that and after it nothing is lost.
    if second.len() != 3 || second[0] != 2000 || second[1] < 1000 || second[2] != 2000 {
        ran.fail(format_args!("of the second Guest's answers: {second:?}"));
    }
    if answered(&ran, "10.0.0.1") != [4000] {
        ran.fail("the first Guest had nothing to do with it, and should have answered 4000 times");
    }
}

/// A file of 220 KiB, one without a byte, and one of two whole blocks; one Guest loses every seventh packet, the other every fourth.
#[test]
fn a_file_crosses_a_cable_that_loses_packets() {
    let script = r#"mkdir d; seq 1 40000 >d/numbers; : >d/empty; head -c 2048 d/numbers >d/whole
        lguest disk make --size 1M --from d one; lguest disk make --size 1M two
        guest="lguest run -m 16M --sharenet cable"
        (echo lose 7; for file in numbers empty whole; do echo recvfile /$file; done; echo sleep 3) |
            $guest --block two /guests/guest >there &
        until grep -q 'recvfile /numbers' there; do :; done
        (echo lose 4; for file in numbers empty whole; do echo sendfile /$file 10.0.0.1; done) | $guest --block one /guests/guest >here; wait
        grep -h 'sent,' here; grep -h ' received from' there
        lguest disk check two && lguest disk copy-out two / out
        for file in numbers empty whole; do cmp d/$file out/$file && echo the same; done"#;
    let ran = in_vm("wires-file", USUAL, script, "");
    ran.expect_status(0).expect_lines(&["the same"; 3]);
    let again = ran.lines.iter().filter_map(|line| {
        let (_, rest) = line.split_once("blocks sent, and ")?;
        rest.split(' ').next()?.parse::<u32>().ok()
    });
    let again: Vec<u32> = again.collect();
    if again.len() != 3 || again[0] < 20 {
        ran.fail(format_args!(
            "expected many blocks to be sent again: {again:?}"
        ));
    }
}

/// Somebody removes the tap under a Guest. Its Launcher says so once, and from then on sleeps as it did before.
#[test]
fn a_tap_that_is_removed_is_left_alone() {
    let script = r#"mkfifo keys; lguest run --net tap:lg0 /guests/guest <keys >said 2>errors & exec 3>keys
        until grep -q 'guest>' said; do :; done
        ip link set lg0 up; ip link del lg0 || ip tuntap del lg0 mode tap
        until grep -q 'any more' errors; do sleep 0.1; done
        ticks() { awk '{ print $14 + $15 }' /proc/$!/stat; }
        before=$(ticks); sleep 2; echo "took $(($(ticks) - before))"
        echo 'exit 4' >&3; wait $!; echo "ended $?"; grep -c 'any more' errors"#;
    let taps = System::whole().clone().with_taps();
    let ran = taps.in_vm("wires-tap", USUAL, script, "");
    ran.expect_status(0).expect_lines(&["ended 4", "1"]);
    let took = ran
        .lines
        .iter()
        .find_map(|line| line.strip_prefix("took ")?.parse::<u32>().ok());
    // A Launcher that spins takes 200 of 200; one that sleeps, next to nothing.
    if took.is_none_or(|ticks| ticks > 50) {
        ran.fail(format_args!(
            "the Launcher took {took:?} hundredths of two seconds"
        ));
    }
}

/// A Guest with a card at a tap is saved and comes back, and the Host pings it: it need not send anything first.
#[test]
fn a_card_at_a_tap_hears_in_a_guest_that_comes_back() {
    let script = r#"mkfifo keys; sleep 999 >keys &
        lguest run -m 16M --net tap:lg0 --control socket /guests/guest <keys >said 2>&1 & first=$!
        until grep -q 'guest>' said; do :; done
        lguest snapshot --stop socket saved; wait $first
        lguest resume --net tap:lg0 saved <keys >/dev/null & first=$!
        until ip addr add 10.0.0.1/24 dev lg0 2>/dev/null; do :; done; ip link set lg0 up
        ping -c 3 -W 30 10.0.0.2 | grep -o '3 packets received'
        kill $first; wait $first; echo "ended $?"; stat -c 'mode %a' saved socket"#;
    let taps = System::whole().clone().with_taps();
    taps.in_vm("wires-resume-tap", USUAL, script, "")
        .expect_status(0)
        .expect_lines(&["3 packets received", "ended 143", "mode 600", "mode 600"]);
}

/// While a Guest is in a file, its neighbour on the cable is replaced by another one. The Guest comes back, and finds the new neighbour
/// once the old one does not answer; and it must not put the old neighbour's address over the new one's.
#[test]
fn a_guest_that_comes_back_leaves_the_cable_to_the_others() {
    let script = r#"guest="lguest run -m 16M --sharenet cable"
        for keys in first second again; do mkfifo $keys; done
        await() { until grep -q "$1" $2; do :; done; }
        $guest --control socket /guests/guest <first >said1 2>&1 & first=$!; exec 3>first; await 'guest>' said1
        $guest /guests/guest <second >said2 2>&1 & second=$!; exec 4>second; await 'guest>' said2
        echo 'ping 10.0.0.2 1' >&3; await '1 of 1' said1
        lguest snapshot socket saved
        kill -9 $second; wait $second; : >said2; exec 4>&-
        $guest /guests/guest <second >said2 2>&1 & second=$!; exec 4>second; await 'guest>' said2
        kill -9 $first; wait $first
        resume() { lguest resume --sharenet cable saved <again >said3 2>&1 & first=$!; exec 5>again; }
        resume; echo 'ping 10.0.0.2 3' >&5; await ' pings were' said3; grep -o '2 of 3 pings' said3
        kill -9 $first; wait $first; exec 5>&-; : >said3
        resume; echo net >&5; await 'card 0' said3
        # It knows the old neighbour; the new one asks for it.
        echo 'ping 10.0.0.1 3' >&4; await ' pings were' said2; grep -o '3 of 3 pings' said2
        echo 'exit 7' >&5; wait $first; echo "ended $?"; echo 'exit 7' >&4; wait $second; echo "ended $?""#;
    in_vm("wires-resume-cable", USUAL, script, "")
        .expect_status(0)
        .expect_lines(&["2 of 3 pings", "3 of 3 pings", "ended 7", "ended 7"]);
}
