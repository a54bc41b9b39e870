//! Lab 2: One system call more. Everything is typed to the Guest's shell, with words that nobody has seen before.

use crate::harness::{Case, Outcome, check, same};
use crate::labs::{launch, random};

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("echo", || {
            for text in [word(5), spaced(), word(1), word(110)] {
                same(
                    "what echo prints",
                    answer(&format!("echo {text}"))?,
                    echoed(&text),
                )?;
            }
            // The spaces at both ends are nobody's.
            let text = spaced();
            let got = answer(&format!("echo    {text}   "))?;
            same(
                "what echo prints without the spaces around it",
                got,
                echoed(&text),
            )?;
            let line = format!("{} {}", word(6), word(6));
            let got = answer(&line)?;
            same("what is no program", got, format!("you said: {line}"))
        }),
        Case::new("fresh", || {
            let (secret, last) = (word(20), word(4));
            let lines = [
                format!("echo {secret}"),
                "echo".into(),
                format!("hello {secret}"),
                "echo".into(),
                format!("echo {last}"),
            ];
            let answers = answers(&lines)?;
            same("echo with words", &answers[0], &echoed(&secret))?;
            same("echo without words", &answers[1], &echoed(""))?;
            same("echo after hello with words", &answers[3], &echoed(""))?;
            same(
                "echo with fewer words than before",
                &answers[4],
                &echoed(&last),
            )
        }),
        Case::new("short-buffer", || {
            let offset = random() % 4000;
            let rest = word(40);
            for len in [1, 7, 3 + random() % 20] {
                let words = format!("data {offset} {len} {rest}");
                poked(&words, len as usize, Some(offset))?;
            }
            // And one with room to spare.
            let words = format!("data {offset} 90 {}", word(10));
            poked(&words, words.len(), Some(offset))
        }),
        Case::new("two-pages", || {
            for border in [4096, 8192] {
                for before in [1, 3 + random() % 30] {
                    let words = format!("data {} 100 {}", border - before, word(50));
                    poked(&words, words.len(), Some(border - before))?;
                }
            }
            Ok(())
        }),
        Case::new("kernel", || {
            let page = random() % 16 * 4096;
            for place in [
                format!("kernel {page}"),
                format!("kernel {}", page + random() % 4000),
                // The kernel once more, from below: 2^64 less 2 GiB, plus 1 MiB.
                format!("nothing {}", 0xffff_ffff_8010_0000u64 + random() % 4096),
                "nothing 0".into(),
                format!("nothing {}", random() % 4096),
                // The first address that is not a program's, and one that no CPU takes.
                format!("nothing {}", 1u64 << 47),
                format!("nothing {}", (1u64 << 47) + random() % (1 << 60)),
            ] {
                poked(
                    &format!("{place} {} {}", 1 + random() % 100, word(8)),
                    0,
                    None,
                )?;
            }
            Ok(())
        }),
        Case::new("read-only", || {
            for place in ["code", "constants"] {
                for offset in [0, random() % 64] {
                    let words = format!("{place} {offset} {} {}", 1 + random() % 60, word(30));
                    poked(&words, 0, None)?;
                }
            }
            Ok(())
        }),
        Case::new("wraps", || {
            let offset = random() % 4000;
            for len in [
                // Of all lengths that end nowhere, those whose end is a small number, and two that only go too far.
                u64::MAX,
                u64::MAX - random() % 4096,
                0u64.wrapping_sub(offset + 4096),
                0u64.wrapping_sub(1 << 20),
                1 << 63,
                1 << 47,
                0x10_0000 + random() % 0x10_0000,
            ] {
                poked(&format!("data {offset} {len} {}", word(9)), 0, None)?;
            }
            Ok(())
        }),
    ]
}

/// So many letters and digits that nobody has seen before.
fn word(len: usize) -> String {
    let letter = |_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[(random() % 36) as usize]);
    (0..len).map(letter).collect()
}

/// Some words with some spaces between them.
fn spaced() -> String {
    let words = (0..4)
        .map(|_| word(1 + (random() % 8) as usize) + &" ".repeat(1 + (random() % 3) as usize));
    words.collect::<String>() + &word(3)
}

/// What the shell prints when `echo` has had these words.
fn echoed(text: &str) -> String {
    format!("{text}\necho: ended with status 0")
}

/// Types lines to a Guest; what it has answered to each.
fn answers(lines: &[String]) -> Outcome<Vec<String>> {
    let ran = launch(&["run", "/guests/guest"], &(lines.join("\n") + "\n"))?;
    let mut said = ran.out.split("guest> ").skip(1);
    let answers = lines.iter().map(|line| {
        let said = said.next().and_then(|text| text.split_once('\n'));
        let Some((_, answer)) = said else {
            return Err(format!(
                "the answer to `{line}`: expected one, got the end of the Guest: {}",
                ran.err.trim()
            ));
        };
        Ok(answer.trim_end_matches('\n').to_owned())
    });
    let answers = answers.collect::<Outcome<Vec<_>>>()?;
    check!(
        ran.status == Some(0),
        "how the Guest ended: expected status 0, got {:?}: {}",
        ran.status,
        ran.err.trim()
    );
    Ok(answers)
}

fn answer(line: &str) -> Outcome<String> {
    Ok(answers(&[line.to_owned()])?.remove(0))
}

/// Has `poke` ask with these words: how many of them it shall get, at which place of its data. None means that it is refused.
/// Afterwards the kernel must still be what it was.
fn poked(words: &str, len: usize, at: Option<u64>) -> Outcome {
    let call = if at.is_some() {
        len.to_string()
    } else {
        "-14".into()
    };
    let data = match at {
        Some(at) => format!("{len} bytes at {at}: {}", &words[..len]),
        None => "untouched".into(),
    };
    let want = format!("call: {call}\ndata: {data}\npoke: ended with status 0");
    let proof = word(12);
    let answers = answers(&[
        format!("poke {words}"),
        format!("echo {proof}"),
        "hello".into(),
    ])?;
    same(&format!("poke {words}"), &answers[0], &want)?;
    same("echo after that", &answers[1], &echoed(&proof))?;
    let hello = "Hello from ring 3.\nhello: ended with status 0".to_owned();
    same("hello after that", &answers[2], &hello)
}
