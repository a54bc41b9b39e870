//! Hostile guests. In every case a second guest runs beside the hostile one and must go on, and afterwards a good guest must
//! run from its start to its end.

mod absent;
mod cpus;
mod dma;
mod fpu;
mod host_image;
mod hypercalls;
mod interrupts;
mod loops;
mod memory;
mod privileged;
mod promise;
mod reasons;
mod segments;
mod stack;
mod switcher;

use crate::blobs::work;
use crate::bystander::Bystander;
use crate::guest::Guest;
use crate::harness::{Case, Outcome};

pub(super) fn cases() -> Vec<Case> {
    [
        hypercalls::cases(),
        memory::cases(),
        host_image::cases(),
        privileged::cases(),
        promise::cases(),
        segments::cases(),
        stack::cases(),
        interrupts::cases(),
        dma::cases(),
        switcher::cases(),
        fpu::cases(),
        loops::cases(),
        absent::cases(),
        cpus::cases(),
        reasons::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A hostile case.
fn hostile(name: impl std::fmt::Display, attack: impl Fn() -> Outcome + 'static) -> Case {
    Case::new(format!("hostile/{name}"), move || {
        let bystander = Bystander::start()?;
        let outcome = attack();
        let second = bystander.finish();
        outcome?;
        second?;
        Guest::new(work::SURVIVED)
            .run_to_poweroff(0)
            .map_err(|e| format!("the good guest afterwards: {e}"))
    })
}

/// What a guest must die of.
enum Want {
    /// Exactly this.
    Is(String),
    /// Something that begins so.
    Starts(String),
    /// A trap of this number that nobody handled, with this error code (CR2 for 14), at an address in this range.
    Trap(u64, u64, std::ops::Range<u64>),
    /// One of these.
    Any(Vec<Want>),
}

/// Exactly this reason.
fn is(text: &str) -> Want {
    Want::Is(text.to_owned())
}

/// A reason that begins so.
fn starts(text: &str) -> Want {
    Want::Starts(text.to_owned())
}

/// A trap that nobody handled, raised by the body.
fn trap(vector: u64, error: u64) -> Want {
    use crate::layout::*;
    Want::Trap(vector, error, va(BODY)..va(USER))
}

/// The same with RIP anywhere.
fn trap_anywhere(vector: u64, error: u64) -> Want {
    Want::Trap(vector, error, 0..u64::MAX)
}

/// Any of these reasons.
fn any(wants: impl Into<Vec<Want>>) -> Want {
    Want::Any(wants.into())
}

impl Want {
    fn fits(&self, reason: &str) -> bool {
        match self {
            Self::Is(text) => reason == text,
            Self::Starts(text) => reason.starts_with(text.as_str()),
            Self::Trap(vector, error, range) => parse_trap(reason)
                .is_some_and(|(v, at, e)| v == *vector && e == *error && range.contains(&at)),
            Self::Any(wants) => wants.iter().any(|want| want.fits(reason)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Is(text) => format!("{text:?}"),
            Self::Starts(text) => format!("\"{text}...\""),
            Self::Trap(vector, error, range) => {
                format!(
                    "\"unhandled trap {vector} at [{:#x} to {:#x}] ({error:#x})\"",
                    range.start, range.end
                )
            }
            Self::Any(wants) => wants
                .iter()
                .map(Self::describe)
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }
}

/// Takes `unhandled trap VECTOR at 0xRIP (0xERROR)` apart.
fn parse_trap(reason: &str) -> Option<(u64, u64, u64)> {
    let (vector, rest) = reason
        .strip_prefix("unhandled trap ")?
        .split_once(" at 0x")?;
    let (rip, error) = rest.strip_suffix(')')?.split_once(" (0x")?;
    Some((
        vector.parse().ok()?,
        u64::from_str_radix(rip, 16).ok()?,
        u64::from_str_radix(error, 16).ok()?,
    ))
}

/// Boots the guest, runs it to its end and looks at the reason.
fn expect_death(mut guest: Guest, want: &Want) -> Outcome {
    let reason = guest.run()?;
    if want.fits(&reason) {
        Ok(())
    } else {
        let traps: Vec<_> = guest.trap_log().into_iter().take(2).collect();
        Err(format!(
            "expected the guest to die of {}, got {reason:?}; its traps: {traps:x?}",
            want.describe()
        ))
    }
}

/// A case in which a guest dies of just this.
fn dies(name: impl std::fmt::Display, build: impl Fn() -> Guest + 'static, want: Want) -> Case {
    hostile(name, move || expect_death(build(), &want))
}

/// A case in which a guest survives what it did, to its own end.
fn survives(name: impl std::fmt::Display, build: impl Fn() -> Guest + 'static) -> Case {
    hostile(name, move || build().run_to_poweroff(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_compared_part_by_part() {
        let reason = "unhandled trap 13 at 0xffffffff80014000 (0x0)";
        assert_eq!(parse_trap(reason), Some((13, 0xffff_ffff_8001_4000, 0)));
        assert!(trap(13, 0).fits(reason));
        assert!(!trap(13, 2).fits(reason));
        assert!(!trap(14, 0).fits(reason));
        assert!(!trap(13, 0).fits("unhandled trap 13 at 0x400000 (0x0)"));
        assert!(any([is("so"), starts("CRASH: ")]).fits("CRASH: x"));
        assert!(!is("so").fits("so what"));
    }
}
