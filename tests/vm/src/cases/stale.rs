//! Launchers whose segment registers hold selectors that can no longer be loaded.
//!
//! On a Host that gets this wrong a CPU stops for ever, and no time limit of ours: a machine of their own is
//! for these (`tests/stale.rs`).

use crate::blobs::work;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, refused, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use crate::segments::{Call, Descriptor, Found, Segments, TLS, local, read_with};
use crate::signals::{self, Alarm};
use nix::errno::Errno;
use nix::unistd::Pid;

/// A segment register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Register {
    Ds,
    Es,
    Fs,
    Gs,
}

const REGISTERS: [(&str, Register); 4] = [
    ("ds", Register::Ds),
    ("es", Register::Es),
    ("fs", Register::Fs),
    ("gs", Register::Gs),
];

/// Its name, and the descriptor afterwards.
type Change = (&'static str, fn(u32) -> Descriptor);

/// What becomes of a descriptor.
const CHANGES: [Change; 6] = [
    ("emptied", Descriptor::empty),
    ("taken-away", Descriptor::absent),
    ("made-code", Descriptor::code),
    ("made-execute-only", Descriptor::execute_only),
    ("made-conforming", Descriptor::conforming),
    // The last one, for those that have a base.
    ("moved", |index| Descriptor::data(index).at(0x9000)),
];

impl Register {
    /// This one loaded with a selector, all others null.
    fn with(self, selector: u16) -> Segments {
        let mut segments = Segments::default();
        match self {
            Self::Ds => segments.ds = selector,
            Self::Es => segments.es = selector,
            Self::Fs => segments.fs = selector,
            Self::Gs => segments.gs = selector,
        }
        segments
    }

    /// A descriptor for it.
    fn descriptor(self, index: u32) -> Descriptor {
        Descriptor::data(index).at(if self.has_base() { 0x5000 } else { 0 })
    }

    /// Whether it has a base in 64-bit mode.
    fn has_base(self) -> bool {
        matches!(self, Self::Fs | Self::Gs)
    }

    /// What may become of its descriptor.
    fn changes(self) -> &'static [Change] {
        &CHANGES[..CHANGES.len() - usize::from(!self.has_base())]
    }

    /// The selector that was found in it.
    fn of(self, found: &Found) -> u64 {
        match self {
            Self::Ds => found.ds,
            Self::Es => found.es,
            Self::Fs => found.fs,
            Self::Gs => found.gs,
        }
    }

    /// Fails unless a read() left it as it was or null, and left all else alone.
    fn check(self, before: &Found, after: &Found) -> Outcome {
        for (name, register) in REGISTERS {
            let (was, is) = (register.of(before), register.of(after));
            check!(
                is == was || is == 0 && register == self,
                "{name} was {was:#x} before read(), and is {is:#x}"
            );
        }
        check!(
            self == Self::Fs || before.fs_base == after.fs_base,
            "FS base was {:#x}, and is {:#x}",
            before.fs_base,
            after.fs_base
        );
        check!(
            self == Self::Gs || before.gs_base == after.gs_base,
            "GS base was {:#x}, and is {:#x}",
            before.gs_base,
            after.gs_base
        );
        Ok(())
    }
}

/// A guest that counts until somebody wants a break.
fn counter() -> Outcome<Guest> {
    let mut guest = Guest::new(work::COUNT_UP);
    guest.boot()?;
    Ok(guest)
}

/// The Launcher changes the descriptor itself, then reads until a signal; its handler runs, and so does a second read(), with
/// what the first has left: nothing can be loaded any more.
fn by_itself(register: Register, selector: u16, good: Call, bad: Call) -> Outcome {
    let guest = counter()?;
    let _alarm = Alarm::every(20);
    for segments in [register.with(selector), Segments::default()] {
        let (count, seen) = (guest.ram.word(COUNT), signals::seen());
        // On a busy machine the alarm may ring before the guest has begun.
        while guest.ram.word(COUNT) == count {
            good.make()?;
            let mut words = [0; 2];
            let (answer, before, after) =
                read_with(guest.device().fd(), &mut words, segments, Some(bad));
            refused("read() until a signal", answer, Errno::EINTR)?;
            register.check(&before, &after)?;
        }
        check!(signals::seen() > seen, "the signal's handler did not run");
    }
    guest.ram.set_word(STOP, 1);
    guest.powered_off(&guest.finish()?, 0)
}

/// Another thread changes the descriptor while the first is in read().
fn by_another(register: Register, bad: fn(u32) -> Descriptor) -> Outcome {
    let cpus = host::cpus();
    register.descriptor(0).to_local_table().make()?;
    let guest = counter()?;
    host::pin(Pid::from_raw(0), cpus[0])?;
    let (ram, device) = (guest.ram.clone(), guest.device().duplicate());
    let other = std::thread::spawn(move || {
        host::pin(Pid::from_raw(0), *cpus.last().expect("a CPU"))?;
        counts_on(&ram)?;
        bad(0).to_local_table().make()?;
        counts_on(&ram)?;
        device.set_break(true).map_err(|e| format!("BREAK on: {e}"))
    });
    let mut words = [0; 2];
    let (answer, before, after) = read_with(
        guest.device().fd(),
        &mut words,
        register.with(local(0)),
        None,
    );
    refused("read() until a break", answer, Errno::EAGAIN)?;
    let off = guest.device().set_break(false);
    off.map_err(|e| format!("BREAK off: {e}"))?;
    join(other)?;
    register.check(&before, &after)?;
    guest.ram.set_word(STOP, 1);
    guest.powered_off(&guest.finish()?, 0)
}

fn counts_on(ram: &Ram) -> Outcome {
    let count = ram.word(COUNT);
    wait_until("the guest counts on", || ram.word(COUNT) > count + 1000)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, register) in REGISTERS {
        for &(change, bad) in register.changes() {
            cases.push(Case::new(
                format!("stale/local-{name}-{change}"),
                move || {
                    let good = register.descriptor(0).to_local_table();
                    by_itself(register, local(0), good, bad(0).to_local_table())
                },
            ));
            cases.push(Case::new(
                format!("stale/local-{name}-{change}-by-another-thread"),
                move || by_another(register, bad),
            ));
            // Linux lets nobody have anything but data there.
            if matches!(change, "emptied" | "moved") {
                cases.push(Case::new(
                    format!("stale/thread-area-{name}-{change}"),
                    move || {
                        let index = u32::from(TLS >> 3);
                        let good = register.descriptor(index).to_thread_area();
                        by_itself(register, TLS, good, bad(index).to_thread_area())
                    },
                ));
            }
        }
    }
    cases
}
