//! Guests that do a list of things, one after the other, whatever comes of each.

use super::dice::Dice;
use crate::abi::{data, hc, sel};
use crate::blobs::{Blob, blob};
use crate::guest::Guest;
use crate::layout::*;
use crate::ram::Ram;

blob! {
    /// Does what stands in the records from FREE on: a word that says what, and four more. A trap means: on to the next.
    PERFORM = "on_trap 2f",
        "2: cmp qword ptr [r15 + PARAM], 0",
        "je 90f",
        "dec qword ptr [r15 + PARAM]",
        "inc qword ptr [r15 + COUNT]",
        "mov r14, [r15 + PARAM + 8]",
        "add qword ptr [r15 + PARAM + 8], 40",
        "mov rsi, [r14]",
        "mov rax, [r14 + 8]",
        "mov rdx, [r14 + 16]",
        "mov rbx, [r14 + 24]",
        "mov rcx, [r14 + 32]",
        // 0: a hypercall.
        "test esi, esi",
        "jnz 3f",
        "int 0x1f",
        "jmp 2b",
        // 1: a store of RDX, 2: a load.
        "3: dec esi",
        "jnz 3f",
        "mov [rax], rdx",
        "jmp 2b",
        "3: dec esi",
        "jnz 3f",
        "mov rdi, [rax]",
        "jmp 2b",
        // 3: stores in RBX places, RDX apart.
        "3: dec esi",
        "jnz 3f",
        "4: inc qword ptr [rax]",
        "add rax, rdx",
        "dec rbx",
        "jnz 4b",
        "jmp 2b",
        // 4: a page forgotten, 5: all of them, 6: other tables.
        "3: dec esi",
        "jnz 3f",
        "invlpg [rax]",
        "jmp 2b",
        "3: dec esi",
        "jnz 3f",
        "mov rdi, cr3",
        "mov cr3, rdi",
        "jmp 2b",
        "3: dec esi",
        "jnz 3f",
        "mov cr3, rax",
        "jmp 2b",
        // 7: to the program in ring 3, with flags in RAX.
        "3: dec esi",
        "jnz 3f",
        "mov rdi, rax",
        "enter_user",
        // 8: IRETQ to CS, RFLAGS, SS and RIP.
        "3: dec esi",
        "jnz 3f",
        "mov rdi, rsp",
        "push rbx",
        "push rdi",
        "push rdx",
        "push rax",
        "push rcx",
        "iretq",
        // 9: selectors into DS, ES, FS and GS.
        "3: dec esi",
        "jnz 3f",
        "mov ds, eax",
        "mov es, edx",
        "mov fs, ebx",
        "mov gs, ecx",
        "jmp 2b",
        // 10: a far jump to a selector, and back if that is code.
        "3: dec esi",
        "jnz 3f",
        "lea rdi, [rip + 2b]",
        "push rax",
        "push rdi",
        "retfq",
        // 11: an MSR is written, 12: read.
        "3: dec esi",
        "jnz 3f",
        "wrmsr",
        "jmp 2b",
        "3: dec esi",
        "jnz 3f",
        "rdmsr",
        "jmp 2b",
        // 13: interrupts on, and 14: off, as a guest says so.
        "3: dec esi",
        "jnz 3f",
        "mov qword ptr [r15 + DATA], 0x200",
        "jmp 2b",
        "3: dec esi",
        "jnz 3f",
        "mov qword ptr [r15 + DATA], 0",
        "jmp 2b",
        // 15: another stack.
        "3: dec esi",
        "jnz 3f",
        "mov rsp, rax",
        "push rdx",
        "3: jmp 2b",
        "90: poweroff 0";
}

/// What a guest is to do, in order.
#[derive(Default)]
pub struct Program(Vec<[u64; 5]>);

/// Most records: what follows in memory is the guest's own.
const MOST: usize = 400;
/// Where things lie behind the records that programs may play with.
pub const PLAYGROUND: u64 = FREE + 0x1_0000;

const HYPERCALL: u64 = 0;
const STORE: u64 = 1;
const LOAD: u64 = 2;
const TOUCH: u64 = 3;
const INVLPG: u64 = 4;
const FORGET_ALL: u64 = 5;
const OTHER_TABLES: u64 = 6;
const USER: u64 = 7;
const IRET: u64 = 8;
const SELECTORS: u64 = 9;
const FAR: u64 = 10;
const WRMSR: u64 = 11;
const RDMSR: u64 = 12;
const INTERRUPTS_ON: u64 = 13;
const INTERRUPTS_OFF: u64 = 14;
const STACK: u64 = 15;

impl Program {
    fn add(&mut self, record: [u64; 5]) {
        if self.0.len() < MOST {
            self.0.push(record);
        }
    }

    /// A hypercall: RAX, RDX, RBX, RCX.
    pub fn call(&mut self, call: [u64; 4]) {
        let [rax, rdx, rbx, rcx] = call;
        self.add([HYPERCALL, rax, rdx, rbx, rcx]);
    }

    /// A store at a virtual address.
    pub fn store(&mut self, at: u64, value: u64) {
        self.add([STORE, at, value, 0, 0]);
    }

    /// A load from a virtual address.
    pub fn load(&mut self, at: u64) {
        self.add([LOAD, at, 0, 0, 0]);
    }

    /// Stores in `count` places, so far apart. The first fault is the end of it.
    pub fn touch(&mut self, at: u64, apart: u64, count: u64) {
        self.add([TOUCH, at, apart, count, 0]);
    }

    /// INVLPG.
    pub fn forget(&mut self, at: u64) {
        self.add([INVLPG, at, 0, 0, 0]);
    }

    /// CR3 again.
    pub fn forget_all(&mut self) {
        self.add([FORGET_ALL, 0, 0, 0, 0]);
    }

    /// Another CR3.
    pub fn other_tables(&mut self, cr3: u64) {
        self.add([OTHER_TABLES, cr3, 0, 0, 0]);
    }

    /// Ring 3, with these flags.
    pub fn user(&mut self, flags: u64) {
        self.add([USER, flags, 0, 0, 0]);
    }

    /// IRETQ.
    pub fn iret(&mut self, cs: u64, flags: u64, ss: u64, rip: u64) {
        self.add([IRET, cs, flags, ss, rip]);
    }

    /// DS, ES, FS, GS.
    pub fn selectors(&mut self, of: [u64; 4]) {
        let [ds, es, fs, gs] = of;
        self.add([SELECTORS, ds, es, fs, gs]);
    }

    /// A far return to here, by another selector.
    pub fn far(&mut self, cs: u64) {
        self.add([FAR, cs, 0, 0, 0]);
    }

    /// WRMSR.
    pub fn set_msr(&mut self, msr: u64, value: u64) {
        self.add([WRMSR, value & 0xffff_ffff, value >> 32, 0, msr]);
    }

    /// RDMSR.
    pub fn get_msr(&mut self, msr: u64) {
        self.add([RDMSR, 0, 0, 0, msr]);
    }

    /// `irq_enabled`.
    pub fn interrupts(&mut self, on: bool) {
        let what = if on { INTERRUPTS_ON } else { INTERRUPTS_OFF };
        self.add([what, 0, 0, 0, 0]);
    }

    /// RSP, and a word pushed there.
    pub fn stack(&mut self, rsp: u64, value: u64) {
        self.add([STACK, rsp, value, 0, 0]);
    }

    /// A call put into slot `slot` of the ring, whether or not it is that slot's turn.
    pub fn in_ring(&mut self, slot: u64, call: [u64; 4]) {
        let entry = va(DATA + data::RING + 32 * slot);
        for (n, word) in (0..).zip(call) {
            self.store(entry + 8 * n, word);
        }
        // Eight slots share a word: all of them are there now.
        self.store(
            va(DATA + data::RING_STATUS + slot / 8 * 8),
            0xff00_ffff_ff00_ff00,
        );
    }

    /// Puts it to where [`PERFORM`] looks for it.
    pub fn put_into(&self, mut put: impl FnMut(u64, u64)) {
        put(PARAM, self.0.len() as u64);
        put(PARAM + 8, va(FREE));
        for (at, record) in (FREE..).step_by(40).zip(&self.0) {
            for (n, word) in (0..).zip(record) {
                put(at + 8 * n, *word);
            }
        }
    }

    /// A guest that does all that. Behind its memory begins what is not its own: see [`Walled`].
    pub fn guest(&self, dice: &mut Dice) -> Walled {
        let mut walled = Walled::new(PERFORM);
        let guest = &mut walled.guest;
        self.put_into(|at, word| guest.ram.set_word(at, word));
        // Most have handlers, and survive their traps.
        if !dice.one_in(4) {
            guest.traps();
        }
        if !dice.one_in(4) {
            guest.interrupts();
        }
        walled
    }
}

/// A guest whose memory lies between pages that nobody may write to.
pub struct Walled {
    pub guest: Guest,
    whole: Ram,
}

/// Bytes on either side.
const WALL: u64 = PAGE;
const BRICK: u64 = 0xb71c_b71c_b71c_b71c;

impl Walled {
    /// A guest with this body.
    pub fn new(body: Blob) -> Self {
        let whole = Ram::new(MEMORY + 2 * WALL);
        for at in Self::walls() {
            whole.set_word(at, BRICK);
        }
        let guest = Guest::in_memory(body, Ram::borrowed(whole.base() + WALL, MEMORY));
        Self { guest, whole }
    }

    /// The guest alone, whose memory then lies there for good.
    pub fn into_guest(self) -> Guest {
        std::mem::forget(self.whole);
        self.guest
    }

    fn walls() -> impl Iterator<Item = u64> {
        let before = (0..WALL).step_by(8);
        before.chain((MEMORY + WALL..MEMORY + 2 * WALL).step_by(8))
    }

    /// Fails if anybody has written there.
    pub fn stands(&self) -> crate::harness::Outcome {
        for at in Self::walls() {
            let word = self.whole.word(at);
            crate::harness::check!(
                word == BRICK,
                "{word:#x} was written at {:#x} of the guest's memory, which is not in it",
                at.wrapping_sub(WALL)
            );
        }
        Ok(())
    }
}

/// A hypercall, mostly with arguments that are good.
pub fn hypercall(dice: &mut Dice) -> [u64; 4] {
    const BAD: u64 = 200;
    let page = |dice: &mut Dice| PLAYGROUND + dice.below(64) * PAGE;
    let tables = TABLES + PAGE * dice.below(5);
    let number = match dice.below(400) {
        0 => dice.nasty(),
        1..4 => dice.below(32),
        _ => dice.pick(&[
            hc::FLUSH_ASYNC,
            hc::NEW_PGTABLE,
            hc::FLUSH_TLB,
            hc::LOAD_IDT_ENTRY,
            hc::LOAD_IDT_ENTRY,
            hc::SET_STACK,
            hc::SET_CLOCKEVENT,
            hc::BIND_DMA,
            hc::BIND_DMA,
            hc::SEND_DMA,
            hc::SEND_DMA,
            hc::SET_PTE,
            hc::SET_TABLE,
            hc::SET_SYSCALL,
            hc::SET_DESCRIPTOR,
            hc::SEND_INTERRUPTS,
            hc::SET_ENTRY,
            hc::NOTIFY,
            hc::START_CPU,
            hc::INTERRUPT_CPU,
            hc::PROMISE,
        ]),
    };
    let arguments = match number {
        hc::NEW_PGTABLE => [TABLES, 0, 0],
        hc::FLUSH_TLB => [dice.below(2), 0, 0],
        hc::LOAD_IDT_ENTRY => {
            let vector = dice.below(64);
            let good = dice.pick(&[0xe, 0xf]);
            let kind = if dice.one_in(100) {
                dice.below(16)
            } else {
                good
            };
            let handler = crate::blobs::kit::stub(dice.below(64));
            let handler = dice.mostly(handler, BAD);
            let (low, high) = crate::guest::gate(handler, kind, dice.below(4));
            [vector, low, high]
        }
        hc::SET_STACK => [sel::KERNEL_DS, va(KSTACK_TOP), dice.below(3)],
        hc::SET_CLOCKEVENT => [dice.pick(&[0, 1, 1000, 100_000, 1 << 40]), 0, 0],
        hc::BIND_DMA => {
            let count = dice.pick(&[0, 1, 1, 2, 5, 20]);
            let irq = dice.pick(&[0, 0, 3, 9, 31]);
            [4 * dice.below(8), DMA + dice.below(3) * 8, count << 8 | irq]
        }
        hc::SEND_DMA => [4 * dice.below(8), DMA + 168 * dice.below(20), 0],
        hc::SET_PTE => [TABLES, va(page(dice)), page(dice) | dice.below(0x200)],
        hc::SET_TABLE => [TABLES, va(page(dice)), 2 + dice.below(3)],
        hc::SET_SYSCALL => [crate::blobs::kit::SYSCALL_ENTRY, 0, 0],
        hc::SET_DESCRIPTOR => [dice.below(16), descriptor(dice), 0],
        hc::SET_ENTRY => [tables, dice.below(512), 0],
        hc::NOTIFY => [4 * dice.below(8), 0, 0],
        hc::START_CPU => [dice.below(4), va(BODY), dice.word()],
        hc::INTERRUPT_CPU => [dice.below(16), dice.below(32), 0],
        hc::PROMISE => [dice.below(2), va(DATA), 0],
        _ => [dice.nasty(), dice.nasty(), dice.nasty()],
    };
    let [first, second, third] = arguments.map(|good| dice.mostly(good, BAD));
    [number, first, second, third]
}

/// A descriptor: mostly a segment of ring 3's, of one kind or the other.
pub fn descriptor(dice: &mut Dice) -> u64 {
    const GOOD: [u64; 5] = [
        0,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x00cf_f200_0000_ffff,
    ];
    let good = dice.pick(&GOOD);
    match dice.below(8) {
        0 if dice.one_in(4) => good ^ 1 << dice.below(64),
        1 if dice.one_in(16) => dice.word(),
        _ => good,
    }
}

/// Lists of pieces in the guest's memory; some of them, in one guest of two, lead out of it.
pub fn lists(guest: &Guest, dice: &mut Dice) {
    let rare = dice.pick(&[1000, 40]);
    for number in 0..20 {
        let mut pieces: Vec<(u64, u16)> = (0..dice.below(17)).map(|_| piece(dice)).collect();
        for piece in &mut pieces {
            if dice.one_in(rare) {
                *piece = bad_piece(dice);
            }
        }
        guest.dma(DMA + 168 * number, &pieces);
        if dice.one_in(4) {
            let used = dice.word() as u32;
            guest.ram.set_word32(DMA + 168 * number, used);
        }
    }
}

/// A piece for a list, which is rarely bad.
pub fn piece(dice: &mut Dice) -> (u64, u16) {
    let page = PLAYGROUND + dice.below(64) * PAGE;
    let from = dice.below(PAGE);
    let len = 1 + dice.below(PAGE - from) as u16;
    match dice.below(400) {
        0 => bad_piece(dice),
        1..20 => (page + from, 0),
        _ => (page + from, len),
    }
}

/// A piece that leads out of the guest's memory, or out of a page, or nearly.
fn bad_piece(dice: &mut Dice) -> (u64, u16) {
    let len = 1 + dice.below(16) as u16;
    match dice.below(4) {
        // Inside of a page, as that is looked at as well.
        0 => (dice.nasty() & !0x1f, len),
        1 => (MEMORY - dice.below(32), len),
        2 => (MEMORY + PAGE * dice.below(1 << 20), len),
        _ => (PLAYGROUND + dice.below(PAGE), dice.word() as u16),
    }
}
