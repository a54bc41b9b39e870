//! Pages that do not come, wherever the module reads or writes memory: whoever touches one waits, nobody else does, and the one
//! who waits can be killed.

use super::hostile;
use crate::abi::lhreq;
use crate::absent::Absent;
use crate::blobs::work;
use crate::device::{Answer, Device};
use crate::guest::{Event, Guest};
use crate::harness::{Case, Outcome, check, granted, join, refused, same, wait_until};
use crate::host;
use crate::layout::*;
use crate::needs::Need;
use crate::ram::Ram;
use nix::errno::Errno::{self, EBUSY, EINVAL, ENOENT, EPERM};
use nix::unistd::{Pid, gettid};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Makes a call in a thread of its own and expects it to be answered, whoever waits elsewhere.
fn answered(what: &str, call: impl FnOnce() -> Answer + Send + 'static) -> Outcome<Answer> {
    let thread = std::thread::spawn(move || Ok(call()));
    wait_until(&format!("{what} is answered"), || thread.is_finished())?;
    join(thread)
}

/// What everybody but the one who waits gets to hear: `read()` is refused with `errno`, IRQ and BREAK off have this answer.
fn others_go_on(device: &Device, errno: Errno, or_both: Answer) -> Outcome {
    let [irq, read, broken] = [(); 3].map(|()| device.duplicate());
    same("IRQ", answered("IRQ", move || irq.irq(1))?, or_both)?;
    let answer = answered("read()", move || read.read(&mut [0; 16]))?;
    refused("read()", answer, errno)?;
    let answer = answered("BREAK off", move || broken.set_break(false))?;
    same("BREAK off", answer, or_both)?;
    Ok(())
}

/// A request of which only the first word is there.
fn half(words: &[u64]) -> Outcome<(Ram, Absent)> {
    let ram = Ram::new(2 * PAGE);
    for (at, word) in (PAGE - 8..).step_by(8).zip(words) {
        ram.set_word(at, *word);
    }
    let absent = Absent::pages(&ram, PAGE, 1)?;
    Ok((ram, absent))
}

/// Waits for the end of whoever waits, after bringing the page; or leaves both to the end of this process, by SIGKILL.
fn end<T>(comes: bool, absent: Absent, waiting: JoinHandle<Outcome<T>>) -> Outcome<Option<T>> {
    check!(!waiting.is_finished(), "it did not wait for the page");
    if comes {
        absent.bring()?;
        return join(waiting).map(Some);
    }
    // Closing it would let go whoever waits.
    std::mem::forget(absent);
    Ok(None)
}

/// The arguments of INITIALIZE do not come; meanwhile somebody else makes the Guest.
fn initialize(comes: bool) -> Outcome {
    let device = Device::open();
    let guest = Guest::new(work::SURVIVED);
    let (words, absent) = half(&guest.init.words())?;
    let its_device = device.duplicate();
    let at = words.base() + PAGE - 8;
    let waiting = std::thread::spawn(move || Ok(its_device.write_at(at, 48)));
    absent.wait_until_wanted()?;
    others_go_on(&device, EINVAL, Err(EINVAL))?;
    let (its_device, init) = (device.duplicate(), guest.init);
    let answer = answered("INITIALIZE", move || its_device.initialize(&init))?;
    granted("another INITIALIZE meanwhile", answer, 48)?;
    match end(comes, absent, waiting)? {
        Some(answer) => refused("the one that waited", answer, EBUSY),
        None => Ok(()),
    }
}

/// The argument of another request does not come.
fn argument(comes: bool, words: [u64; 2], want: Answer) -> Outcome {
    let (ram, absent) = half(&words)?;
    let at = ram.base() + PAGE - 8;
    let (to_us, from_it) = channel();
    let waiting = std::thread::spawn(move || {
        let mut guest = Guest::new(work::SURVIVED);
        let device = guest.boot()?;
        to_us.send(device.duplicate()).expect("we wait for it");
        Ok(device.write_at(at, 16))
    });
    absent.wait_until_wanted()?;
    let device = from_it.recv().map_err(|e| e.to_string())?;
    others_go_on(&device, EPERM, Ok(16))?;
    match end(comes, absent, waiting)? {
        Some(answer) => same("the one that waited", answer, want),
        None => Ok(()),
    }
}

/// The room for the answer does not come.
fn answer(comes: bool) -> Outcome {
    let ram = Ram::new(PAGE);
    let absent = Absent::pages(&ram, 0, 1)?;
    let (to_us, from_it) = channel();
    let at = ram.base();
    let waiting = std::thread::spawn(move || {
        let mut guest = Guest::new(work::SEND);
        guest.dma(DMA, &[(BUFFER, 16)]);
        let device = guest.boot()?;
        to_us.send(device.duplicate()).expect("we wait for it");
        // SAFETY: nothing else uses that memory.
        Ok(unsafe { device.read_at(at, 16) })
    });
    absent.wait_until_wanted()?;
    let device = from_it.recv().map_err(|e| e.to_string())?;
    others_go_on(&device, EPERM, Ok(16))?;
    match end(comes, absent, waiting)? {
        Some(answer) => granted("read()", answer, 16),
        None => Ok(()),
    }
}

/// Where in a guest's memory a page is taken away.
type Page = fn(&Guest) -> u64;

/// A page of the Guest's own does not come.
fn memory(comes: bool, page: Page) -> Outcome {
    let (to_us, from_it) = channel();
    let waiting = std::thread::spawn(move || {
        let mut guest = Guest::new(work::SURVIVED);
        guest.boot()?;
        let absent = Absent::pages(&guest.ram, page(&guest), 1)?;
        let device = guest.device().duplicate();
        to_us.send((absent, device)).expect("we wait for it");
        same("read()", guest.step()?, Event::Break)?;
        granted("BREAK off", guest.device().set_break(false), 16)?;
        guest.powered_off(&guest.finish()?, 0)
    });
    let (absent, device) = from_it.recv().map_err(|e| e.to_string())?;
    absent.wait_until_wanted()?;
    others_go_on(&device, EPERM, Ok(16))?;
    let tid = Arc::new(AtomicI32::new(0));
    let its_tid = tid.clone();
    let breaker = std::thread::spawn(move || {
        its_tid.store(gettid().as_raw(), SeqCst);
        Ok(device.set_break(true))
    });
    wait_until("whoever wants a break sleeps", || {
        let tid = tid.load(SeqCst);
        tid != 0 && host::sleeps(Pid::from_raw(tid))
    })?;
    match end(comes, absent, waiting)? {
        Some(()) => granted("BREAK on", join(breaker)?, 16),
        None => Ok(()),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (comes, when) in [(true, "comes-late"), (false, "never-comes")] {
        let name = |what: &str| format!("absent/{what}/{when}");
        cases.push(hostile(name("initialize"), move || initialize(comes)));
        for (what, words, want) in [
            ("getdma", [lhreq::GETDMA, 0], Err(ENOENT)),
            ("irq", [lhreq::IRQ, 1], Ok(16)),
            ("break", [lhreq::BREAK, 0], Ok(16)),
        ] {
            cases.push(hostile(name(what), move || argument(comes, words, want)));
        }
        cases.push(hostile(name("read"), move || answer(comes)));
        let pages: [(_, Page); 3] = [
            ("page-table", |guest| guest.tables.top),
            ("code", |_| BODY),
            ("shared-page", |_| DATA),
        ];
        for (what, page) in pages {
            cases.push(hostile(name(what), move || memory(comes, page)));
        }
    }
    cases
        .into_iter()
        .map(|case: Case| case.needing([Need::USERFAULTFD]))
        .collect()
}
