//! A guest with several CPUs, each run by a thread of its own.

use crate::device::{Answer, Device};
use crate::guest::{Guest, reason};
use crate::harness::{Outcome, check, granted, join, wait_until};
use crate::layout::*;
use crate::ram::Ram;
use nix::errno::Errno;
use nix::unistd::{Pid, gettid};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread::{JoinHandle, spawn};

/// All threads of one guest.
pub struct Crew {
    pub ram: Ram,
    pub device: Device,
    threads: Vec<JoinHandle<Outcome<String>>>,
    tids: Arc<Vec<AtomicI32>>,
}

/// Runs a CPU until the guest is dead; the reason.
pub fn run(read: impl Fn(&mut [u8]) -> Answer) -> Outcome<String> {
    loop {
        match read(&mut [0; 16]) {
            Err(Errno::EINTR) => {}
            // Somebody has broken it out, and will let it in again.
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            // It is dead. If it was so before this call, the call has told why.
            Err(Errno::ENOENT) | Ok(_) => return reason(read),
            other => return Err(format!("read() of a CPU: {other:?}")),
        }
    }
}

impl Crew {
    /// Boots the guest, gives each of its CPUs a thread, and lets all run.
    pub fn start(mut guest: Guest) -> Outcome<Self> {
        let (ram, cpus) = (guest.ram.clone(), guest.cpus);
        let tids: Arc<Vec<_>> = Arc::new((0..cpus).map(|_| AtomicI32::new(0)).collect());
        let all_there = Arc::new(Barrier::new(cpus as usize));
        let (booted, boots) = channel();
        let (its_tids, all) = (tids.clone(), all_there.clone());
        let first = spawn(move || {
            its_tids[0].store(gettid().as_raw(), SeqCst);
            let device = guest.boot()?.duplicate();
            booted.send(device).map_err(|e| e.to_string())?;
            all.wait();
            let device = guest.device();
            run(|buffer| device.read(buffer))
        });
        let Ok(device): Result<Device, _> = boots.recv() else {
            return Err(format!("it does not start: {:?}", join(first)));
        };
        let mut threads = vec![first];
        for cpu in 1..cpus {
            let (device, tids, all) = (device.of_cpu(cpu), tids.clone(), all_there.clone());
            threads.push(spawn(move || {
                tids[cpu as usize].store(gettid().as_raw(), SeqCst);
                let taken = granted("INITIALIZE of a CPU", device.take_cpu(), 8);
                all.wait();
                taken?;
                run(|buffer| device.read(buffer))
            }));
        }
        Ok(Self {
            ram,
            device,
            threads,
            tids,
        })
    }

    /// The thread of a CPU.
    pub fn tid(&self, cpu: u64) -> Pid {
        Pid::from_raw(self.tids[cpu as usize].load(SeqCst))
    }

    /// Whether one of them has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until that is so, or the guest has ended.
    pub fn wait_until(&self, what: &str, condition: impl Fn() -> bool) -> Outcome {
        wait_until(what, || condition() || self.is_over())
    }

    /// Tells the guest to end; all its CPUs must hear of the same end.
    pub fn end(self, want: &str) -> Outcome {
        self.ram.set_word(STOP, 1);
        self.over(want)
    }

    /// All its CPUs must hear of this end.
    pub fn over(self, want: &str) -> Outcome {
        for (cpu, thread) in self.threads.into_iter().enumerate() {
            let got = join(thread)?;
            let said: Vec<u64> = (0..10).map(|at| self.ram.word(OUT + 8 * at)).collect();
            check!(
                got == want,
                "CPU {cpu}: expected {want:?}, got {got:?}; results {said:x?}"
            );
        }
        Ok(())
    }
}
