//! Programs around the device: a process whose threads open, ask, run, close, map, fork and signal in any order, and end at any moment.
//!
//! A process does each round, since what it does to its own memory and files is not to be survived by anybody else. It may use nothing that allocates
//! once it is at it: where the guest's memory was, there may be a hole.

use super::dice::Dice;
use super::ended;
use super::program::{Program, hypercall, lists};
use crate::abi::{hc, lhreq};
use crate::blobs::{attack, cpus, work};
use crate::device::{Device, Init};
use crate::guest::{Guest, reason};
use crate::harness::{Outcome, check};
use crate::host;
use crate::layout::*;
use crate::ram::{Edge, Ram};
use crate::signals;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

/// Requests 5 and 6 of `write()`.
const SAVE: u64 = 5;
const RESTORE: u64 = 6;

/// Files of the device that the threads share, as numbers.
const FILES: usize = 4;
/// Words of a saved state, and room for more.
const STATE: usize = 1200;

/// What the threads share.
struct World {
    files: [AtomicI32; FILES],
    eventfd: i32,
    null: i32,
    threads: [AtomicI32; 4],
    init: Init,
    ram: Ram,
    edge: Edge,
    /// What was saved last.
    state: [AtomicU64; STATE],
    /// A pipe for what is wrong.
    complaints: i32,
}

/// What the device may answer to whatever it is asked: any other error is a find. (What each request answers to what is the subject of `errno/`.)
const ANSWERS: [Errno; 15] = [
    Errno::EFAULT,
    Errno::EINVAL,
    Errno::ENOENT,
    Errno::EPERM,
    Errno::EBUSY,
    Errno::EAGAIN,
    Errno::EINTR,
    Errno::E2BIG,
    Errno::EOPNOTSUPP,
    Errno::EBADF,
    Errno::EEXIST,
    Errno::ENOSPC,
    // The file's number was another's by then, or never one.
    Errno::ENOTTY,
    Errno::ENODEV,
    Errno::ESPIPE,
];

fn answer(value: isize) -> Result<usize, Errno> {
    Errno::result(value).map(|value| value as usize)
}

impl World {
    fn file(&self, dice: &mut Dice) -> i32 {
        self.files[dice.below(FILES as u64) as usize].load(SeqCst)
    }

    /// Puts a file into a place, and closes what was there.
    fn put(&self, dice: &mut Dice, file: i32) {
        let before = self.files[dice.below(FILES as u64) as usize].swap(file, SeqCst);
        if before >= 0 {
            // SAFETY: nobody owns it but this place, which has just lost it. Who uses its number is told EBADF, or uses another of these.
            unsafe { libc::close(before) };
        }
    }

    /// Complains, for the round to have failed.
    fn complain(&self, what: &str, number: i64) {
        let mut text = [0u8; 128];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            let len = bytes.len().min(text.len() - at);
            text[at..at + len].copy_from_slice(&bytes[..len]);
            at += len;
        };
        put(what.as_bytes());
        let mut digits = [0u8; 20];
        let mut rest = number.unsigned_abs();
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        put(if number < 0 { b" -" } else { b" " });
        put(&digits[first..]);
        put(b"\n");
        // SAFETY: a pipe of our own.
        unsafe { libc::write(self.complaints, text.as_ptr().cast(), at) };
    }

    fn check(&self, what: &str, got: Result<usize, Errno>) {
        if let Err(errno) = got
            && !ANSWERS.contains(&errno)
        {
            self.complain(what, -(errno as i64));
        }
    }

    /// Words, or part of them, from memory that may end in the middle of them.
    fn write(&self, dice: &mut Dice, file: i32, words: &[u64]) -> Result<usize, Errno> {
        let cpu = self.cpu(dice);
        let all = size_of_val(words) as u64;
        let (from, len) = match dice.below(24) {
            0 => (self.edge.forbidden(), all),
            1 if all <= 64 => (self.edge.words(words, dice.below(all)), all),
            2 => (words.as_ptr() as u64, dice.below(all + 1)),
            3 => (dice.nasty(), dice.nasty()),
            _ => (words.as_ptr() as u64, all),
        };
        let from = from as *const libc::c_void;
        // SAFETY: the kernel checks the range, and only reads it.
        answer(unsafe {
            match dice.below(8) {
                0 => {
                    let half = len / 16 * 8;
                    let pieces = [
                        libc::iovec {
                            iov_base: from.cast_mut(),
                            iov_len: half as usize,
                        },
                        libc::iovec {
                            iov_base: from.wrapping_add(half as usize).cast_mut(),
                            iov_len: (len - half) as usize,
                        },
                    ];
                    libc::pwritev(file, pieces.as_ptr(), 2, cpu)
                }
                1 => libc::write(file, from, len as usize),
                _ => libc::pwrite(file, from, len as usize, cpu),
            }
        })
    }

    fn cpu(&self, dice: &mut Dice) -> i64 {
        match dice.below(32) {
            0 => dice.nasty() as i64,
            1..12 => dice.below(5) as i64,
            _ => 0,
        }
    }

    fn read(&self, dice: &mut Dice, file: i32) {
        let cpu = self.cpu(dice);
        // As long as a state, in words; none of it is on the heap.
        let mut buffer = [0u64; STATE];
        let room = size_of_val(&buffer) as u64;
        let (to, len) = match dice.below(16) {
            0 => (self.edge.forbidden(), 16),
            1 => (self.edge.ending(dice.below(16)), 16),
            2 => (buffer.as_mut_ptr() as u64, dice.below(24)),
            3 => (self.init.base + dice.below(MEMORY), dice.below(64)),
            4 => (0, dice.nasty()),
            5 => (buffer.as_mut_ptr() as u64, room),
            _ => (buffer.as_mut_ptr() as u64, 16),
        };
        // SAFETY: what is writable there is the buffer's, the edge's or the guest's, to which there are only volatile accesses.
        let got = answer(unsafe { libc::pread(file, to as *mut libc::c_void, len as usize, cpu) });
        if let Ok(len) = got
            && len > 8000
            && to == buffer.as_ptr() as u64
        {
            for (word, kept) in buffer.iter().zip(&self.state) {
                kept.store(*word, SeqCst);
            }
        }
        self.check("read() answers", got);
    }

    /// Where a guest begins, mostly.
    fn initialize(&self, dice: &mut Dice, file: i32) -> Result<usize, Errno> {
        let mut words = [0; 8];
        words[..6].copy_from_slice(&self.init.words());
        words[7] = 1 + dice.below(4);
        if dice.one_in(4) {
            words[1 + dice.below(7) as usize] = dice.nasty();
        }
        let len = dice.pick(&[6, 7, 8, 8, 8, 8]);
        self.write(dice, file, &words[..len])
    }

    /// Part of the guest's memory, in whole pages.
    fn part(&self, dice: &mut Dice) -> (*mut libc::c_void, usize) {
        let at = dice.below(MEMORY / PAGE);
        let pages = 1 + dice
            .below(32)
            .min(MEMORY / PAGE - 1 - at.min(MEMORY / PAGE - 2));
        let pages = pages.min(MEMORY / PAGE - at);
        (
            (self.init.base + at * PAGE) as *mut libc::c_void,
            (pages * PAGE) as usize,
        )
    }

    /// One thing.
    fn act(&self, dice: &mut Dice) {
        let file = self.file(dice);
        match dice.below(40) {
            0..8 => self.read(dice, file),
            8..11 => self.check("INITIALIZE answers", self.initialize(dice, file)),
            11 | 12 => self.check(
                "INITIALIZE of a CPU answers",
                self.write(dice, file, &[lhreq::INITIALIZE]),
            ),
            13 | 14 => {
                let irq = dice.mostly(dice.clone().below(32), 8);
                self.check("IRQ answers", self.write(dice, file, &[lhreq::IRQ, irq]));
            }
            15 | 16 => {
                let key = 4 * dice.below(8);
                let got = self.write(dice, file, &[lhreq::GETDMA, key]);
                // Where a buffer is, which is no errno and no length.
                self.check("GETDMA answers", got);
            }
            17 | 18 => self.check(
                "BREAK on answers",
                self.write(dice, file, &[lhreq::BREAK, 1]),
            ),
            19..22 => self.check(
                "BREAK off answers",
                self.write(dice, file, &[lhreq::BREAK, 0]),
            ),
            22 => {
                let fd = dice.pick(&[self.eventfd, self.null, file, -1, 999]);
                let words = [lhreq::EVENTFD, 4 * dice.below(8), fd as i64 as u64];
                self.check("EVENTFD answers", self.write(dice, file, &words));
            }
            23 => self.check("SAVE answers", self.write(dice, file, &[SAVE])),
            24 => self.restore(dice, file),
            25 => {
                let words = [dice.nasty(), dice.nasty(), dice.nasty()];
                self.check("write() answers", self.write(dice, file, &words));
            }
            26..29 => {
                // SAFETY: a path and flags.
                let opened =
                    unsafe { libc::open(c"/dev/lguest".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
                self.check("open() answers", answer(opened as isize));
                if opened >= 0 {
                    self.check("INITIALIZE answers", self.initialize(dice, opened));
                    self.put(dice, opened);
                }
            }
            29 => self.put(dice, -1),
            // SAFETY: a number of a file, or none.
            30 => match unsafe { libc::fcntl(file, libc::F_DUPFD_CLOEXEC, 0) } {
                -1 => {}
                copy => self.put(dice, copy),
            },
            31..35 => self.change_memory(dice),
            35 => self.fork(dice),
            36 => self.signal(dice),
            37 => self.ask_what_it_is_not(dice, file),
            38 => {
                let cpu = dice.pick(&[0, 1]);
                let _ = host::pin(Pid::from_raw(0), cpu.min(host_cpus() - 1));
            }
            _ => {
                // SAFETY: no arguments.
                unsafe { libc::sched_yield() };
            }
        }
    }

    /// The guest's memory goes, or becomes other memory. Never is there a hole: whatever this process asks for next could be put into it.
    fn change_memory(&self, dice: &mut Dice) {
        let (at, len) = self.part(dice);
        let rights = dice.pick(&[
            libc::PROT_NONE,
            libc::PROT_READ,
            libc::PROT_READ | libc::PROT_WRITE,
        ]);
        let fresh = libc::MAP_FIXED
            | libc::MAP_ANONYMOUS
            | dice.pick(&[libc::MAP_PRIVATE, libc::MAP_SHARED]);
        // SAFETY: part of the guest's memory, to which there are only volatile accesses, and none after the beginning.
        unsafe {
            match dice.below(8) {
                0 | 1 => {
                    libc::mmap(at, len, rights, fresh, -1, 0);
                }
                2 => {
                    libc::mprotect(at, len, rights);
                }
                3 => {
                    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                    let (to, _) = self.part(dice);
                    libc::mremap(at, PAGE as usize, PAGE as usize, flags, to);
                    libc::mmap(at, PAGE as usize, rights, fresh, -1, 0);
                }
                advice => {
                    let advice = [
                        libc::MADV_DONTNEED,
                        libc::MADV_FREE,
                        libc::MADV_COLD,
                        libc::MADV_HUGEPAGE,
                    ][advice as usize % 4];
                    libc::madvise(at, len, advice);
                }
            }
        }
    }

    /// A child with other memory and the same files, which asks a few things and ends.
    fn fork(&self, dice: &mut Dice) {
        let mut its = dice.another();
        let file = self.file(dice);
        // SAFETY: the child makes system calls, and ends.
        match unsafe { libc::fork() } {
            0 => {
                for _ in 0..its.below(6) {
                    match its.below(4) {
                        0 => self.read(&mut its, file),
                        1 => self.check(
                            "IRQ of a child answers",
                            self.write(&mut its, file, &[lhreq::IRQ, 1]),
                        ),
                        2 => self.check(
                            "BREAK off of a child answers",
                            self.write(&mut its, file, &[lhreq::BREAK, 0]),
                        ),
                        _ => self.check(
                            "INITIALIZE of a child answers",
                            self.initialize(&mut its, file),
                        ),
                    }
                }
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) }
            }
            -1 => {}
            // SAFETY: our own child. If a signal comes first, the next who waits gets it, or whoever inherits it.
            child => unsafe {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            },
        }
    }

    fn signal(&self, dice: &mut Dice) {
        let thread = self.threads[dice.below(4) as usize].load(SeqCst);
        if thread > 0 {
            let _ = signals::send(Pid::from_raw(thread), Signal::SIGUSR1);
        }
    }

    /// A state, mostly one that was saved, with a few words of another kind.
    fn restore(&self, dice: &mut Dice, file: i32) {
        let mut words = [0; STATE];
        words[0] = RESTORE;
        for (word, kept) in words[1..].iter_mut().zip(&self.state) {
            *word = kept.load(SeqCst);
        }
        for _ in 0..dice.below(3) {
            words[1 + dice.below(STATE as u64 - 1) as usize] = dice.nasty();
        }
        let len = dice.pick(&[1, 100, 900, STATE]);
        self.check("RESTORE answers", self.write(dice, file, &words[..len]));
    }

    /// What the device is no device for: nothing of it may do anything.
    fn ask_what_it_is_not(&self, dice: &mut Dice, file: i32) {
        let page = PAGE as usize;
        // SAFETY: whatever these do, they may do it to a file of this process's; a mapping is made wherever the kernel likes.
        unsafe {
            match dice.below(7) {
                0 => {
                    let got = libc::mmap(
                        std::ptr::null_mut(),
                        page,
                        libc::PROT_READ,
                        libc::MAP_SHARED,
                        file,
                        0,
                    );
                    if got != libc::MAP_FAILED {
                        libc::munmap(got, page);
                        // Unless the number was another file's by then.
                        self.complain("mmap() of the device answers", 0);
                    }
                }
                1 => {
                    let got = libc::ioctl(file, dice.word() & 0xffff_ffff, dice.nasty());
                    self.check("ioctl() answers", answer(got as isize));
                }
                2 => {
                    libc::lseek(file, dice.nasty() as i64, dice.below(3) as i32);
                }
                3 => {
                    libc::fsync(file);
                }
                4 => {
                    let mut poll = libc::pollfd {
                        fd: file,
                        events: libc::POLLIN,
                        revents: 0,
                    };
                    libc::poll(&mut poll, 1, 0);
                }
                5 => {
                    libc::splice(
                        file,
                        std::ptr::null_mut(),
                        self.complaints,
                        std::ptr::null_mut(),
                        0,
                        libc::SPLICE_F_NONBLOCK,
                    );
                }
                _ => {
                    let flags = dice.pick(&[libc::O_NONBLOCK, libc::O_APPEND, 0]);
                    libc::fcntl(file, libc::F_SETFL, flags);
                }
            }
        }
    }
}

fn host_cpus() -> usize {
    // SAFETY: a number.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }.max(1) as usize
}

/// A guest for the process to run: one that works, one that does what chance says, or one whose four CPUs do.
fn unborn(dice: &mut Dice) -> Guest {
    let mut guest = match dice.below(4) {
        0 => {
            let guest = cpus::guest(cpus::AT_RANDOM, 4);
            super::cpus::calls(&guest, dice);
            return guest;
        }
        1 | 2 => {
            let mut program = Program::default();
            for _ in 0..40 {
                program.call(hypercall(dice));
            }
            program.guest(dice).into_guest()
        }
        _ => Guest::new(dice.pick(&[
            work::COUNT_UP,
            work::TICK,
            work::SEND_MANY,
            work::SURVIVED,
            attack::HALT_FOREVER,
            attack::CLI_FOREVER,
            attack::TOUCH_MANY,
        ])),
    };
    guest.traps().interrupts();
    guest.ram.set_word(REARM, 100_000);
    guest.param(2, 100).param(3, 1 << 40);
    for key in 0..4 {
        let list = DMA + 168 * key;
        guest.call([hc::BIND_DMA, 4 * key, list, 1 << 8 | 3]);
    }
    lists(&guest, dice);
    guest
}

/// The process of a round. It ends by itself, in one way or another.
fn process(dice: &mut Dice, complaints: OwnedFd) -> ! {
    signals::handle(Signal::SIGUSR1, dice.one_in(2));
    signals::handle(Signal::SIGALRM, false);
    let guest = unborn(dice);
    guest.write_script();
    // SAFETY: a number and flags, a path and flags.
    let (eventfd, null) = unsafe {
        (
            libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC),
            libc::open(c"/dev/null".as_ptr(), libc::O_RDWR),
        )
    };
    let first = Device::open();
    let copy = first.duplicate();
    let _ = first.initialize_cpus(&guest.init, 0, 1 + dice.below(4));
    let world = World {
        files: [first.fd(), copy.fd(), -1, -1].map(AtomicI32::new),
        eventfd,
        null,
        threads: [const { AtomicI32::new(0) }; 4],
        init: guest.init,
        ram: guest.ram.clone(),
        edge: Edge::new(),
        state: [const { AtomicU64::new(0) }; STATE],
        complaints: complaints.into_raw_fd(),
    };
    std::mem::forget((first, copy));
    let threads = 1 + dice.below(4) as usize;
    let begin = Barrier::new(threads);
    std::thread::scope(|s| {
        for thread in 0..threads {
            let mut its = dice.another();
            let (world, begin) = (&world, &begin);
            let mut run = move || {
                world.threads[thread].store(nix::unistd::gettid().as_raw(), SeqCst);
                // One who waits is called out.
                let alarm = signals::Alarm::every(4);
                begin.wait();
                for _ in 0..20 + its.below(40) {
                    world.act(&mut its);
                }
                std::mem::forget(alarm);
                // Some end all of it in the middle of what the others do, with the guest's memory or without it.
                if its.one_in(8) {
                    // SAFETY: the guest's memory, and the end of the process.
                    unsafe {
                        if its.one_in(2) {
                            libc::munmap(
                                world.init.base as *mut libc::c_void,
                                world.ram.len() as usize,
                            );
                        }
                        libc::_exit(0)
                    }
                }
            };
            if thread + 1 == threads {
                // The one that has made the guest.
                run();
            } else {
                s.spawn(run);
            }
        }
    });
    // If it is dead, of what?
    for file in &world.files {
        let file = file.load(SeqCst);
        if file >= 0 {
            // SAFETY: ours still, and nobody else's any more.
            let device = Device::from_fd(unsafe { OwnedFd::from_raw_fd(file) });
            let dead = device.irq(0) == Err(Errno::ENOENT);
            if dead
                && let Ok(reason) = reason(|buffer| device.read(buffer))
                && super::ends::is_known(&reason).is_err()
            {
                let text = format!("a guest died of {reason:?}, which no chapter tells of\n");
                // SAFETY: a pipe of our own.
                unsafe { libc::write(world.complaints, text.as_ptr().cast(), text.len()) };
            }
        }
    }
    // SAFETY: ends the process, with whatever is open.
    unsafe { libc::_exit(0) }
}

pub fn round(dice: &mut Dice) -> Outcome {
    let (ours, theirs) = nix::unistd::pipe().map_err(|e| format!("pipe: {e}"))?;
    // SAFETY: the second guest's thread holds no lock that the child could need: it is in read().
    let child = match unsafe { fork() }.map_err(|e| e.to_string())? {
        ForkResult::Child => process(dice, theirs),
        ForkResult::Parent { child } => child,
    };
    drop(theirs);
    let status = ended(child)?;
    let mut text = [0; 1024];
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    // SAFETY: a flag of a file of ours.
    unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_SETFL, flags.bits()) };
    let len = nix::unistd::read(&ours, &mut text).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..len]);
    check!(text.is_empty(), "{}", text.trim().replace('\n', "; "));
    check!(
        status == WaitStatus::Exited(child, 0),
        "the process ended so: {status:?}"
    );
    Ok(())
}
