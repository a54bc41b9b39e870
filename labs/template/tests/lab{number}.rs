//! Lab {n}: {title}.

use crate::harness::{Case, check};
use crate::labs;

/// One for each row of the lab's table, but for `the book` and `the chapter`.
pub fn tests() -> Vec<Case> {
    vec![
        Case::new("works", || {
            // What is expected must not be known before: a solution that prints it would be graded like one that does it.
            let word = labs::random() % 1000;
            let ran = labs::launch(&["run", "/guests/guest"], &format!("my command {word}\nexit\n"))?;
            check!(
                ran.out.contains(&format!("my answer {word}")),
                "the Guest's answer: expected {:?}, got {:?}",
                format!("my answer {word}"),
                ran.out
            );
            Ok(())
        }),
        Case::new("refuses", || Err("nobody has written this test yet".to_owned())),
    ]
}
