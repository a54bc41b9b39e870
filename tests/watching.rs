//! `lguest stat` and `lguest trace`, beside Guests whose deeds are known.

mod common;

use common::{Machine, Ran, in_vm};
use serde_json::Value;
use std::collections::BTreeMap;

const USUAL: Machine = Machine { cpu: "max", smp: 2 };

/// The lines between two others.
fn part<'a>(ran: &'a Ran, begin: &str, end: &str) -> Vec<&'a str> {
    let lines = ran.lines.iter().map(String::as_str);
    let part: Vec<_> = lines
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| *line != end)
        .collect();
    if part.is_empty() {
        ran.fail(format_args!("nothing between {begin:?} and {end:?}"));
    }
    part
}

/// Two Guests at their prompts: a table, JSON, a look at one of them, and the end by a signal.
#[test]
fn stat_shows_all_guests_and_ends_when_asked() {
    let ran = in_vm(
        "watching-stat",
        USUAL,
        r#"
        for n in 1 2; do
            mkfifo keys$n; lguest run /guests/guest <keys$n >said$n & eval pid$n=$!
            eval "exec $((n + 3))>keys$n"
            until grep -q "Type help" said$n; do sleep 0.1; done
        done
        echo TABLE; lguest stat --once; echo JSON; lguest stat --once --json
        echo ONE; lguest stat --json --interval 0.2 $pid2 | head -n 2
        echo AGAIN; lguest stat --interval 0.1 >again & watcher=$!
        until [ $(grep -c PID again) -ge 3 ]; do sleep 0.1; done
        kill -INT $watcher; wait $watcher; echo status $?
        echo NONE; lguest stat $$ 2>&1; echo status $?
        exec 4>&- 5>&-; wait
        echo EMPTY; lguest stat --once --json; echo END
        "#,
        "",
    );
    let table = part(&ran, "TABLE", "JSON");
    assert_eq!(table.len(), 3, "{}", ran.tell("a heading and two Guests"));
    assert!(table[0].contains("PID GUEST CPUS STATE"));
    let json = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| ran.fail(format_args!("{line}: {error}")))
    };
    let guests = &json(part(&ran, "JSON", "ONE")[0])["guests"];
    for (index, number) in [(0, 1), (1, 2)] {
        let figures = &guests[index]["figures"];
        assert_eq!(figures["guest"], number);
        assert_eq!(figures["cpus"], 1);
        assert_eq!(figures["call-1"], 1, "LGUEST_INIT");
        let sum: u64 = [
            "hypercall",
            "page-fault",
            "protection",
            "trap",
            "host",
            "other",
        ]
        .iter()
        .map(|kind| figures[format!("exits-{kind}")].as_u64().unwrap())
        .sum();
        assert_eq!(figures["exits"], sum);
        assert!(guests[index]["per-second"]["exits"].as_f64().unwrap() > 0.0);
    }
    let looks: Vec<Value> = part(&ran, "ONE", "AGAIN").into_iter().map(json).collect();
    assert_eq!(looks.len(), 2);
    let exits = |look: &Value| look["guests"][0]["figures"]["exits"].as_u64().unwrap();
    assert!(exits(&looks[1]) >= exits(&looks[0]));
    assert_eq!(looks[1]["guests"].as_array().map(Vec::len), Some(1));
    assert_eq!(looks[1]["guests"][0]["figures"]["guest"], 2);
    assert_eq!(part(&ran, "AGAIN", "NONE"), ["status 0"]);
    let none = part(&ran, "NONE", "EMPTY");
    assert_eq!(none, ["lguest: this process has no Guest", "status 1"]);
    assert_eq!(part(&ran, "EMPTY", "END"), [r#"{"guests":[]}"#]);
}

/// A Guest from its first moment to its last, as lines, as a picture and for a viewer; one that is joined in the middle; and one
/// whose watcher is killed. No instance is left.
#[test]
fn trace_tells_everything_and_leaves_nothing_behind() {
    let ran = in_vm(
        "watching-trace",
        USUAL,
        r#"
        lguest trace -- run /guests/guest 2>&1; echo status $?
        tracing=/sys/kernel/tracing; mount -t tracefs nodev $tracing
        printf 'hello\ntrespass\nexit 7\n' >keys
        lguest trace -o lines --svg picture --perfetto viewer -- run /guests/guest <keys >said
        echo status $?
        echo INSTANCES $(ls $tracing/instances)
        echo COUNTS; for event in "in at" "out at" "LGUEST_INIT(" "POWEROFF(0x7," "read() begins" "read() ends: death" \
            "outcome" "reflected" "trap 14" "interrupt" "DMA sent"; do echo $(grep -cF "$event" lines) $event; done
        echo PICTURE; cat picture; echo; echo VIEWER; cat viewer; echo; echo JOINED
        mkfifo more; lguest run /guests/guest <more >said2 & pid=$!; exec 4>more
        until grep -q "Type help" said2; do sleep 0.1; done
        lguest trace $pid >joined 4>&- & watcher=$!
        until grep -q "in at" joined; do echo hello >&4; sleep 0.5; done
        echo INSTANCES $(ls $tracing/instances | sed "s/$watcher/watcher/")
        kill -INT $watcher; wait $watcher; echo status $?; echo INSTANCES $(ls $tracing/instances)
        lguest trace $pid >killed 4>&- & watcher=$!
        until grep -q "in at" killed; do echo hello >&4; sleep 0.5; done
        kill -KILL $watcher; wait $watcher 2>/dev/null; echo INSTANCES $(ls $tracing/instances | sed "s/$watcher/watcher/")
        lguest trace $pid >last 4>&- & watcher=$!; until grep -q "in at" last; do echo hello >&4; sleep 0.5; done
        exec 4>&-; wait $watcher; echo status $?; echo INSTANCES $(ls $tracing/instances)
        tail -n 1 last | sed "s/.*CPU 0  //"; echo END; cat $tracing/events/lguest/enable
        "#,
        "",
    );
    ran.expect_lines(&[
        "lguest: tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing",
        "status 1",
        "status 7",
        "INSTANCES",
    ]);
    let counts: BTreeMap<&str, u64> = part(&ran, "COUNTS", "PICTURE")
        .into_iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(count, event)| (event, count.parse().unwrap()))
        .collect();
    assert_eq!(counts["in at"], counts["out at"], "{counts:?}");
    assert_eq!(counts["LGUEST_INIT("], 1);
    assert_eq!(counts["POWEROFF(0x7,"], 1);
    assert_eq!(counts["read() ends: death"], 1);
    assert_eq!(counts["reflected"], counts["trap 14"], "{counts:?}");
    assert!(counts["trap 14"] >= 1, "trespass: {counts:?}");
    assert!(counts["DMA sent"] > 5, "{counts:?}");

    let picture = part(&ran, "PICTURE", "VIEWER").join("\n");
    let mut open = 0;
    for event in svg::read(&picture).expect("an svg") {
        use svg::node::element::tag::Type;
        match event {
            svg::parser::Event::Tag(_, Type::Start, _) => open += 1,
            svg::parser::Event::Tag(_, Type::End, _) => open -= 1,
            svg::parser::Event::Error(error) => panic!("{error}"),
            _ => (),
        }
    }
    assert_eq!(open, 0, "tags that are not closed");
    for row in [
        "Guest 1, CPU 0",
        "Launcher: ",
        "asleep: ",
        "trap: ",
        "page fault: ",
        "dma: ",
    ] {
        assert!(picture.contains(row), "{row} in {picture}");
    }

    let viewer: Value = serde_json::from_str(part(&ran, "VIEWER", "JOINED")[0]).expect("JSON");
    let events = viewer["traceEvents"].as_array().expect("events");
    let inside = events.iter().filter(|event| event["name"] == "Guest");
    assert_eq!(inside.count() as u64, counts["in at"]);

    let joined = part(&ran, "JOINED", "END");
    let expected = [
        "INSTANCES lguest-trace-watcher",
        "status 0",
        "INSTANCES",
        "INSTANCES lguest-trace-watcher",
        "status 0",
        "INSTANCES",
        "read() ends: death",
    ];
    assert_eq!(joined, expected);
    assert_eq!(part(&ran, "END", "").first(), Some(&"0"));
}
