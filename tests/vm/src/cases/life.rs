//! Births and deaths by the thousand: nothing may be left of them.

use crate::abi::{SWITCHER_4LEVEL, SWITCHER_5LEVEL};
use crate::blobs::{attack, cpus, work};
use crate::bystander::Bystander;
use crate::crew::Crew;
use crate::device::Device;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, join, refused, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::ram::Ram;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::CStr;

/// A guest from its first to its last moment.
fn one_life() -> Outcome {
    Guest::new(work::SURVIVED).run_to_poweroff(0)
}

/// One that uses all that the Host keeps for a guest: bindings, a timer, many tables, handlers, FPU, then is closed alive.
fn one_rich_life() -> Outcome {
    let mut guest = Guest::new(attack::TOUCH_MANY);
    guest.traps().interrupts();
    for key in 0..8 {
        guest.call([crate::abi::hc::BIND_DMA, 4 * key, DMA, 1 << 8 | 3]);
    }
    guest.call([crate::abi::hc::SET_CLOCKEVENT, 1 << 40, 0, 0]);
    guest
        .param(0, va(FREE))
        .param(1, PAGE)
        .param(2, 500)
        .param(3, 1 << 40);
    guest.boot()?;
    same("killed by nothing", guest.finish_within(2)?, None)
}

/// Runs `round` until the Host's free memory no longer shrinks; fails if each further batch still takes memory. LIVES in the environment
/// asks for more rounds than these: so many in all.
pub(super) fn leaves_nothing(batch: usize, round: impl Fn() -> Outcome) -> Outcome {
    let slack: u64 = 1 << 20;
    let asked = std::env::var("LIVES")
        .ok()
        .and_then(|lives| lives.parse().ok());
    let batch = asked.map_or(batch, |lives: usize| batch.max(lives / 2));
    for _ in 0..batch {
        round()?;
    }
    let threads = host::kernel_threads();
    let mut took = Vec::new();
    // Caches grow in steps, and on a busy machine what waits behind RCU waits long: a leak takes memory in every batch, so one
    // batch that takes nothing acquits.
    for _ in 0..10 {
        let before = host::free_memory();
        for _ in 0..batch {
            round()?;
        }
        let now = host::free_memory();
        if before.saturating_sub(now) < slack {
            same("kernel threads", host::kernel_threads(), threads)?;
            return same("users of the module", host::module_users()?, 0);
        }
        took.push((before - now) >> 10);
    }
    Err(format!(
        "batches of {batch} took {took:?} KiB of memory that did not come back"
    ))
}

/// A child process that runs a guest; it is killed as soon as the guest counts.
fn killed_in_read(round: usize) -> Outcome {
    let ram = Ram::shared(MEMORY);
    // SAFETY: this case has one thread.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => {
            let mut guest = Guest::in_memory(
                if round.is_multiple_of(2) {
                    work::COUNT_UP
                } else {
                    attack::HALT_FOREVER
                },
                ram,
            );
            let _ = guest.boot().is_ok() && guest.finish().is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(1) }
        }
        ForkResult::Parent { child } => {
            wait_until("the guest counts", || ram.word(COUNT) > 0)?;
            kill(child, Signal::SIGKILL).map_err(|e| e.to_string())?;
            let status = waitpid(child, None).map_err(|e| e.to_string())?;
            check!(
                matches!(
                    status,
                    nix::sys::wait::WaitStatus::Signaled(_, Signal::SIGKILL, _)
                ),
                "expected it killed, got {status:?}"
            );
            Ok(())
        }
    }
}

/// A guest with four CPUs, all at work, which one of them ends.
fn four_cpus(round: u64) -> Outcome {
    let mut guest = cpus::guest(cpus::COUNT_ALL, 4);
    guest.param(1, round % 4);
    let crew = Crew::start(guest)?;
    all_count(&crew)?;
    crew.end("POWEROFF: 0")
}

fn all_count(crew: &Crew) -> Outcome {
    crew.wait_until("all count", || {
        (0..4).all(|cpu| crew.ram.word(cpus::own(cpu, cpus::COUNTED)) > 0)
    })
}

/// The same in a child process, which is killed meanwhile.
fn four_cpus_killed() -> Outcome {
    let (ours, theirs) = nix::unistd::pipe().map_err(|e| e.to_string())?;
    // SAFETY: this case has one thread.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => {
            let crew = Crew::start(cpus::guest(cpus::COUNT_ALL, 4));
            let counted = crew.as_ref().is_ok_and(|crew| all_count(crew).is_ok());
            let _ = nix::unistd::write(&theirs, &[u8::from(counted)]);
            loop {
                std::thread::park();
            }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let mut counted = [0];
            let told = nix::unistd::read(&ours, &mut counted);
            kill(child, Signal::SIGKILL).map_err(|e| e.to_string())?;
            let status = waitpid(child, None).map_err(|e| e.to_string())?;
            check!(
                (told, counted) == (Ok(1), [1]),
                "the child's guest did not run: {told:?} {counted:?}, {status:?}"
            );
            Ok(())
        }
    }
}

/// A child process one of whose threads is in read() while another ends the process.
fn exit_in_read() -> Outcome {
    // SAFETY: this case has one thread.
    match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => {
            let ram = Ram::new(MEMORY);
            let its_ram = ram.clone();
            std::thread::spawn(move || {
                let mut guest = Guest::in_memory(work::COUNT_UP, its_ram);
                guest.boot()?;
                guest.finish()
            });
            let counted = wait_until("the guest counts", || ram.word(COUNT) > 0);
            // SAFETY: ends the process, with the other thread wherever it is.
            unsafe { libc::_exit(i32::from(counted.is_err())) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).map_err(|e| e.to_string())?;
            check!(
                matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)),
                "the child: {status:?}"
            );
            Ok(())
        }
    }
}

/// Whether a page of the slot's beginning is the Switcher's, for a Guest on this CPU.
fn switcher_is_at_the_beginning() -> Outcome<bool> {
    let slot = if host::five_levels() {
        SWITCHER_5LEVEL
    } else {
        SWITCHER_4LEVEL
    };
    host::pin(Pid::from_raw(0), host::cpus()[0])?;
    let mut guest = Guest::new(attack::COPY_PAGE);
    guest.param(0, slot);
    Ok(guest.run()? == "POWEROFF: 0")
}

/// Loads the module as the cases want it: with the Switcher where they look for it.
fn load() -> Outcome {
    load_with(c"fixed=1")
}

fn load_with(parameters: &CStr) -> Outcome {
    let path = host::module_file()?;
    let file = open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| format!("{path}: {e}"))?;
    finit_module(&file, parameters, ModuleInitFlags::empty())
        .map_err(|e| format!("loading {path}: {e}"))
}

fn unload() -> nix::Result<()> {
    delete_module(c"lguest", DeleteModuleFlags::O_NONBLOCK)
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::slow("life/five-hundred", || {
            (0..500).try_for_each(|_| one_life())
        }),
        Case::slow("life/opened-and-closed", || {
            for _ in 0..5000 {
                drop(Device::open());
            }
            Ok(())
        }),
        Case::slow("life/initialised-and-closed", || {
            for _ in 0..1000 {
                Guest::new(work::SURVIVED).boot()?;
            }
            Ok(())
        }),
        Case::slow("life/on-all-cpus-at-once", || {
            let cpus = host::cpus();
            let threads: Vec<_> = (0..2 * cpus.len())
                .map(|i| {
                    let cpu = cpus[i % cpus.len()];
                    std::thread::spawn(move || {
                        host::pin(Pid::from_raw(0), cpu)?;
                        (0..200).try_for_each(|_| one_life())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(join)
        }),
        Case::slow("life/killed-in-read", || {
            (0..60).try_for_each(killed_in_read)
        }),
        Case::slow("life/exits-in-read", || {
            (0..40).try_for_each(|_| exit_in_read())
        }),
        Case::slow("life/leaves-no-memory", || leaves_nothing(400, one_life)),
        Case::slow("life/leaves-no-memory-closed-alive", || {
            leaves_nothing(100, one_rich_life)
        }),
        Case::slow("life/leaves-no-memory-killed", || {
            leaves_nothing(40, || killed_in_read(0))
        }),
        Case::slow("life/leaves-no-memory-never-run", || {
            leaves_nothing(300, || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.boot()?;
                Ok(())
            })
        }),
        Case::slow("life/leaves-no-memory-refused", || {
            leaves_nothing(500, || {
                let mut guest = Guest::new(work::SURVIVED);
                guest.init.start = 1 << 63;
                refused(
                    "INITIALIZE",
                    Device::open().initialize(&guest.init),
                    Errno::EINVAL,
                )
            })
        }),
        Case::slow("life/fifty-with-four-cpus", || {
            (0..50).try_for_each(four_cpus)
        }),
        Case::slow("life/leaves-no-memory-of-four-cpus", || {
            leaves_nothing(30, || four_cpus(1))
        }),
        Case::slow("life/leaves-no-memory-of-four-cpus-killed", || {
            leaves_nothing(20, four_cpus_killed)
        }),
        Case::new("module/nobody-uses-it", || {
            same("users of the module", host::module_users()?, 0)
        }),
        Case::new("module/stays-while-a-file-is-open", || {
            let device = Device::open();
            refused("unloading", unload(), Errno::EWOULDBLOCK)?;
            same("users of the module", host::module_users()?, 1)?;
            drop(device);
            one_life()
        }),
        Case::new("module/stays-while-a-guest-runs", || {
            let bystander = Bystander::start()?;
            refused("unloading", unload(), Errno::EWOULDBLOCK)?;
            bystander.finish()
        }),
    ];
    cases.push(Case::new(
        "module/the-switchers-place-is-drawn-by-lot",
        || {
            same("with fixed=1", switcher_is_at_the_beginning()?, true)?;
            unload().map_err(|e| format!("unloading: {e}"))?;
            load_with(c"")?;
            wait_until("the device is there again", || Device::try_open().is_ok())?;
            let by_chance = switcher_is_at_the_beginning();
            unload().map_err(|e| format!("unloading: {e}"))?;
            load()?;
            wait_until("the device is there again", || Device::try_open().is_ok())?;
            same("without", by_chance?, false)
        },
    ));
    cases.push(Case::slow("module/unloads-and-loads-again", || {
        for round in 0..10 {
            unload().map_err(|e| format!("unloading, round {round}: {e}"))?;
            check!(
                Device::try_open().is_err(),
                "the device is still there without its module"
            );
            load()?;
            wait_until("the device is there again", || Device::try_open().is_ok())?;
            one_life()?;
        }
        Ok(())
    }));
    cases
}
