//! The Host kernel's own image, which lies where a guest may name it: at the top of memory, in supervisor pages, and ring 1 is
//! supervisor. Its pages are global, so what the CPU remembers of them outlives a change of tables.

use super::hostile;
use crate::blobs::attack;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check};
use crate::layout::*;
use std::fs;

/// Where the Host's kernel has this symbol.
fn symbol(name: &str) -> Outcome<u64> {
    let text = fs::read_to_string("/proc/kallsyms").map_err(|e| format!("/proc/kallsyms: {e}"))?;
    text.lines()
        .find(|line| line.split(' ').nth(2) == Some(name))
        .and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .filter(|address| *address != 0)
        .ok_or_else(|| format!("the Host does not say where its {name} is"))
}

pub(super) fn cases() -> Vec<Case> {
    vec![hostile("host-image/no-page-can-be-read", || {
        let (start, end) = (symbol("_text")?, symbol("_end")?);
        check!(
            start > PAGE_OFFSET + MEMORY && start < end,
            "the Host's image is said to be at {start:#x} to {end:#x}"
        );
        let mut guest = Guest::new(attack::READ_MANY);
        guest.traps();
        guest
            .param(0, start)
            .param(1, PAGE)
            .param(2, (end - start).div_ceil(PAGE));
        guest.run_to_poweroff(0)?;
        check!(
            guest.out(0) == 0,
            "{} of the image's pages could be read, the last one at _text + {:#x}",
            guest.out(0),
            guest.out(1) - start
        );
        check!(
            guest.out(2) > start && guest.trap_count() > 0,
            "it got as far as {:#x} and took {} traps",
            guest.out(2),
            guest.trap_count()
        );
        Ok(())
    })]
}
