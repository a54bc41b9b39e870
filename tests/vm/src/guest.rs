//! A guest, from its memory to its death.

use crate::abi::{FIRST_IRQ, IRQS, data, hc};
use crate::blobs::{Blob, kit};
use crate::device::{self, Answer, Device, Init};
use crate::harness::{Outcome, check};
use crate::layout::*;
use crate::ram::Ram;
use crate::tables::{Tables, pte};
use nix::errno::Errno;

/// Why `read()` came back.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest sent a DMA to the Launcher.
    Dma {
        /// Guest-physical address of the list.
        addr: u64,
        /// Where it was sent to.
        key: u64,
    },
    /// Someone asked for a break.
    Break,
    /// A signal arrived.
    Signal,
    /// The guest is dead, for this reason.
    Died(String),
}

/// One entry of the kit's log of traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub cr2: u64,
    /// Where the CPU's frame lay.
    pub frame: u64,
    pub handler_cs: u64,
    pub handler_ss: u64,
    pub handler_rflags: u64,
    pub rax: u64,
    pub handler_irq_enabled: u64,
}

/// A guest: first under construction, after [`Guest::boot`] alive. Boot and run it in the same thread.
pub struct Guest {
    /// Its memory.
    pub ram: Ram,
    /// Its page tables.
    pub tables: Tables,
    /// What INITIALIZE will be told.
    pub init: Init,
    /// Whose guest it will be.
    pub path: &'static str,
    /// And these flags, unless there are none.
    pub flags: u64,
    /// How many CPUs it has.
    pub cpus: u64,
    script: Vec<[u64; 4]>,
    device: Option<Device>,
}

impl Guest {
    /// A guest that calls LGUEST_INIT, then runs `body`.
    pub fn new(body: Blob) -> Self {
        Self::in_memory(body, Ram::new(MEMORY))
    }

    /// The same in memory of the caller's.
    pub fn in_memory(body: Blob, ram: Ram) -> Self {
        let mut guest = Self::bare_in(body, ram);
        guest.call([hc::LGUEST_INIT, DATA, 0, 0]);
        guest
    }

    /// A guest that makes no hypercall before `body`.
    pub fn bare(body: Blob) -> Self {
        Self::bare_in(body, Ram::new(MEMORY))
    }

    fn bare_in(body: Blob, ram: Ram) -> Self {
        let tables = Tables::linear(&ram);
        let init = Init {
            base: ram.base(),
            pfn_limit: ram.len() / PAGE,
            pgdir: tables.top,
            start: va(KIT),
            page_offset: PAGE_OFFSET,
        };
        let guest = Self {
            ram,
            tables,
            init,
            path: device::PATH,
            flags: 0,
            cpus: 1,
            script: Vec::new(),
            device: None,
        };
        guest.load(KIT, BODY, kit::CODE);
        guest.load(BODY, USER, body);
        // All ring slots are free.
        guest
            .ram
            .set_bytes(DATA + data::RING_STATUS, &[0xff; data::RING_SIZE as usize]);
        guest
    }

    /// Copies code to where it belongs.
    pub fn load(&self, at: u64, end: u64, code: Blob) {
        assert!(
            code.bytes().len() as u64 <= end - at,
            "code too long for its place"
        );
        self.ram.set_bytes(at, code.bytes());
    }

    /// Adds a hypercall to the script. Returns its number there.
    pub fn call(&mut self, call: [u64; 4]) -> usize {
        assert!(
            (self.script.len() as u64) < SCRIPT_MAX,
            "the script is full"
        );
        self.script.push(call);
        self.script.len() - 1
    }

    /// What call number `index` of the script returned.
    pub fn returned(&self, index: usize) -> u64 {
        self.ram.word(SCRIPT + 32 * index as u64)
    }

    /// Adds a gate to the script.
    pub fn gate(&mut self, vector: u64, handler: u64, kind: u64, dpl: u64) -> usize {
        let (low, high) = gate(handler, kind, dpl);
        self.call([hc::LOAD_IDT_ENTRY, vector, low, high])
    }

    /// Lets the kit handle every trap; those that user programs may ask for by `int` have DPL 3.
    pub fn traps(&mut self) -> &mut Self {
        for vector in 0..FIRST_IRQ {
            self.gate(
                vector,
                kit::stub(vector),
                0xf,
                if matches!(vector, 3 | 4) { 3 } else { 0 },
            );
        }
        self.gate(0x80, kit::stub(0x80), 0xf, 3);
        self
    }

    /// Lets the kit handle every interrupt.
    pub fn interrupts(&mut self) -> &mut Self {
        for irq in 0..IRQS {
            self.interrupt(irq);
        }
        self
    }

    /// Lets the kit handle this interrupt.
    pub fn interrupt(&mut self, irq: u64) -> &mut Self {
        self.gate(FIRST_IRQ + irq, kit::stub(FIRST_IRQ + irq), 0xe, 0);
        self
    }

    /// Gives the guest a user program, a stack for traps out of it, and a system call entry.
    pub fn user(&mut self, program: Blob) -> &mut Self {
        self.user_without_syscalls(program);
        let (start, end) = kit::SYSCALL_COVERED;
        self.ram.set_word(DATA + data::NOIRQ_START, start);
        self.ram.set_word(DATA + data::NOIRQ_END, end);
        self.call([hc::SET_SYSCALL, kit::SYSCALL_ENTRY, 0, 0]);
        self
    }

    /// The same without the system call entry.
    pub fn user_without_syscalls(&mut self, program: Blob) -> &mut Self {
        self.load(USER, USER_STACK_TOP, program);
        for pa in (USER..USER_STACK_TOP).step_by(PAGE as usize) {
            self.tables.map(USER_VA + pa - USER, pa, pte::USER);
        }
        self.call([hc::SET_STACK, crate::abi::sel::KERNEL_DS, va(KSTACK_TOP), 2]);
        self
    }

    /// Sets a parameter of the body.
    pub fn param(&mut self, index: u64, value: u64) -> &mut Self {
        self.ram.set_word(PARAM + 8 * index, value);
        self
    }

    /// A result of the body.
    pub fn out(&self, index: u64) -> u64 {
        self.ram.word(OUT + 8 * index)
    }

    /// How many traps the kit handled.
    pub fn trap_count(&self) -> u64 {
        self.ram.word(TRAPS)
    }

    /// A trap that the kit handled.
    pub fn trap(&self, index: u64) -> Trap {
        let word = |i: u64| self.ram.word(TRAPS + TRAP_SIZE * (index + 1) + 8 * i);
        Trap {
            vector: word(0),
            error: word(1),
            rip: word(2),
            cs: word(3),
            rflags: word(4),
            rsp: word(5),
            ss: word(6),
            cr2: word(7),
            frame: word(8),
            handler_cs: word(9),
            handler_ss: word(10),
            handler_rflags: word(11),
            rax: word(12),
            handler_irq_enabled: word(13),
        }
    }

    /// All traps that the kit handled.
    pub fn trap_log(&self) -> Vec<Trap> {
        (0..self.trap_count().min(TRAP_MAX))
            .map(|i| self.trap(i))
            .collect()
    }

    /// Fills in a `struct lguest_dma` with sections of (address, length).
    pub fn dma(&self, at: u64, sections: &[(u64, u16)]) {
        use crate::abi::dma;
        for (i, (addr, len)) in (0..).zip(sections) {
            self.ram.set_word(at + dma::ADDR + 8 * i, *addr);
            self.ram.set_word16(at + dma::LEN + 2 * i, *len);
        }
    }

    /// Puts the script into its memory.
    pub fn write_script(&self) {
        for (at, call) in (SCRIPT..).step_by(32).zip(&self.script) {
            for (word, value) in (at..).step_by(8).zip(call) {
                self.ram.set_word(word, *value);
            }
        }
        self.ram.set_word(SCRIPT_LEN, self.script.len() as u64);
    }

    /// Opens the device and initialises it, in the thread that is to run the guest.
    pub fn boot(&mut self) -> Outcome<&Device> {
        self.write_script();
        let device = Device::open_at(self.path);
        let (answer, all) = match (self.flags, self.cpus) {
            (0, 1) => (device.initialize(&self.init), 48),
            (flags, 1) => (device.initialize_with(&self.init, flags), 56),
            (flags, cpus) => (device.initialize_cpus(&self.init, flags, cpus), 64),
        };
        match answer {
            Ok(taken) if taken == all => Ok(self.device.insert(device)),
            other => Err(format!("INITIALIZE: expected {all}, got {other:?}")),
        }
    }

    /// Boots the guest and runs it until it comes out with a list at `ready` for the Launcher, the last call of its script.
    pub fn boot_halfway(&mut self, ready: u64) -> Outcome {
        self.call([hc::SEND_DMA, 0, ready, 0]);
        self.boot()?;
        let came = self.step()?;
        check!(
            came == Event::Dma {
                addr: ready,
                key: 0
            },
            "expected a list at {ready:#x}, but: {came:x?}"
        );
        Ok(())
    }

    /// The device of a booted guest.
    pub fn device(&self) -> &Device {
        self.device.as_ref().expect("booted")
    }

    /// Runs the guest once.
    pub fn step(&self) -> Outcome<Event> {
        let mut words = [0; 16];
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
        match self.device().read(&mut words) {
            Ok(16) => Ok(Event::Dma {
                addr: word(&words[..8]),
                key: word(&words[8..]),
            }),
            Ok(n) => Err(format!("read() of a running guest returned {n}")),
            Err(Errno::EAGAIN) => Ok(Event::Break),
            Err(Errno::EINTR) => Ok(Event::Signal),
            Err(Errno::ENOENT) => Ok(Event::Died(self.reason()?)),
            Err(e) => Err(format!("read() of a running guest: {e:?}")),
        }
    }

    /// Why a dead guest died.
    pub fn reason(&self) -> Outcome<String> {
        reason(|buffer| self.device().read(buffer))
    }

    /// Boots the guest and runs it until it dies; the reason. It may not send anything.
    pub fn run(&mut self) -> Outcome<String> {
        self.boot()?;
        self.finish()
    }

    /// Runs a booted guest until it dies; the reason.
    pub fn finish(&self) -> Outcome<String> {
        loop {
            match self.step()? {
                Event::Died(reason) => return Ok(reason),
                Event::Signal => {}
                event => {
                    return Err(format!(
                        "expected the guest to run until it dies, but: {event:x?}"
                    ));
                }
            }
        }
    }

    /// Runs a booted guest, but not much longer than `ms` milliseconds: the reason if it died, None if it still lived.
    pub fn finish_within(&self, ms: u64) -> Outcome<Option<String>> {
        let _alarm = crate::signals::Alarm::every(ms);
        match self.step()? {
            Event::Died(reason) => Ok(Some(reason)),
            Event::Signal => Ok(None),
            event => Err(format!(
                "expected the guest to run until it dies or the alarm rings, but: {event:x?}"
            )),
        }
    }

    /// Boots the guest and expects it to power off with this status.
    pub fn run_to_poweroff(&mut self, status: u8) -> Outcome {
        let reason = self.run()?;
        self.powered_off(&reason, status)
    }

    /// Fails unless the reason is POWEROFF with this status; says what traps came before.
    pub fn powered_off(&self, reason: &str, status: u8) -> Outcome {
        let want = format!("POWEROFF: {status}");
        check!(
            reason == want,
            "expected the guest to end with {want:?}, got {reason:?}; its traps: {:x?}",
            self.trap_log().iter().take(3).collect::<Vec<_>>()
        );
        Ok(())
    }
}

/// The two words of a 64-bit gate. The selector is the guest kernel's.
pub fn gate(handler: u64, kind: u64, dpl: u64) -> (u64, u64) {
    let low = handler & 0xffff
        | crate::abi::sel::KERNEL_CS << 16
        | (0x80 | dpl << 5 | kind) << 40
        | (handler >> 16 & 0xffff) << 48;
    (low, handler >> 32)
}

/// Reads the reason of a dead guest: it must be text with one NUL, at its end.
pub fn reason(read: impl Fn(&mut [u8]) -> Answer) -> Outcome<String> {
    let mut text = [0xaa; 4096];
    let len = read(&mut text).map_err(|e| format!("reading the reason: {e:?}"))?;
    let text = &text[..len];
    check!(
        text.last() == Some(&0),
        "the reason does not end with NUL: {text:x?}"
    );
    let text = &text[..len - 1];
    check!(!text.contains(&0), "NUL inside the reason: {text:x?}");
    let text = std::str::from_utf8(text);
    let text = text.map_err(|e| format!("the reason is not UTF-8: {e}"))?;
    crate::witness::died(text);
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_encoded_as_the_cpu_wants_it() {
        let (low, high) = gate(0xffff_ffff_8001_1230, 0xe, 3);
        assert_eq!((low, high), (0x8001_ee00_0081_1230, 0xffff_ffff));
    }

    #[test]
    fn the_kit_lies_where_its_constants_say() {
        let code = kit::CODE.bytes();
        assert!(code.len() as u64 <= BODY - KIT);
        // Each stub ends in a jump back to the common code; the first pushes a zero for the error code it has not.
        let stub = &code[KIT_STUBS as usize..];
        assert_eq!(&stub[..5], [0x6a, 0, 0x6a, 0, 0xe9]);
        assert_eq!(&stub[14 * 16..][..3], [0x6a, 14, 0xe9]);
        assert_eq!(&stub[64 * 16..][..7], [0x6a, 0, 0x68, 0x80, 0, 0, 0]);
        // mov [rip + ...], rsp
        assert_eq!(&code[KIT_SYSCALL as usize..][..3], [0x48, 0x89, 0x25]);
        // push 0x2b
        assert_eq!(&code[KIT_ENTER_USER as usize..][..2], [0x6a, 0x2b]);
    }
}
