//! Lab 5: a fault saved. What SET_PTE fills, and what it must leave alone.

use crate::abi::{data, hc, sel};
use crate::blobs::blob;
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::labs::{launch, random};
use crate::layout::*;
use crate::tables::{index, pte};
use nix::sys::mman::ProtFlags;

/// The hypercall of this lab.
const COUNT_FAULTS: u64 = 32;

/// Where the pages of the tests are mapped: 512 entries of one table.
const TARGET: u64 = 0xffff_9000_0020_0000;
/// What the Guest is to do: steps of six words.
const STEPS: u64 = 0x28_0000;
const STEPS_END: u64 = STEPS + 16 * PAGE;
const STEP: u64 = 48;
/// An entry that asks nothing of anybody.
const MARKED: u64 = pte::KERNEL | pte::A | pte::D;

blob! {
    /// Obeys steps: what to do, four words, and which result it has. A step that traps is over.
    OBEY = "mov r14, 0x280000",
        "add r14, r15",
        // Its own pages have been used before anybody counts.
        "mov rcx, r14",
        "mov edx, 16",
        "7: mov rax, [rcx]",
        "add rcx, 4096",
        "dec edx",
        "jnz 7b",
        "mov [r15 + OUT], rax",
        "mov [r15 + COUNT], rax",
        "mov [r15 + TRAPS + 8], rax",
        "lea r11, [rip + 9f]",
        "mov [r15 + RESUME], r11",
        "jmp 2f",
        "9: add r14, 48",
        "2: mov rax, [r14]",
        "cmp eax, 1",
        "je 3f",
        "cmp eax, 2",
        "je 4f",
        "cmp eax, 3",
        "je 5f",
        "cmp eax, 4",
        "je 6f",
        "poweroff 0",
        // 1: read
        "3: mov rbx, [r14 + 8]",
        "mov rax, [rbx]",
        "jmp 8f",
        // 2: write
        "4: mov rbx, [r14 + 8]",
        "mov rax, [r14 + 16]",
        "mov [rbx], rax",
        "jmp 9b",
        // 3: call
        "5: mov rax, [r14 + 8]",
        "mov rdx, [r14 + 16]",
        "mov rbx, [r14 + 24]",
        "mov rcx, [r14 + 32]",
        "int 0x1f",
        "jmp 8f",
        // 4: invlpg
        "6: mov rbx, [r14 + 8]",
        "invlpg [rbx]",
        "jmp 9b",
        "8: mov rcx, [r14 + 40]",
        "mov [r15 + OUT + 8 * rcx], rax",
        "jmp 9b";
}

/// A Guest under construction, and its steps.
struct Plan {
    guest: Guest,
    next: u64,
    results: u64,
}

impl Plan {
    fn new() -> Self {
        let mut guest = Guest::new(OBEY);
        guest.traps();
        Self {
            guest,
            next: STEPS,
            results: 0,
        }
    }

    fn step(&mut self, words: [u64; 5]) -> u64 {
        assert!(self.next + STEP < STEPS_END, "too many steps");
        let result = self.results;
        for (at, word) in (self.next..)
            .step_by(8)
            .zip(words.into_iter().chain([result]))
        {
            self.guest.ram.set_word(at, word);
        }
        self.next += STEP;
        result
    }

    fn with_result(&mut self, words: [u64; 5]) -> u64 {
        let result = self.step(words);
        self.results += 1;
        result
    }

    fn read(&mut self, at: u64) -> u64 {
        self.with_result([1, at, 0, 0, 0])
    }

    fn write(&mut self, at: u64, word: u64) {
        self.step([2, at, word, 0, 0]);
    }

    fn call(&mut self, call: [u64; 4]) -> u64 {
        self.with_result([3, call[0], call[1], call[2], call[3]])
    }

    fn faults(&mut self) -> u64 {
        self.call([COUNT_FAULTS, 0, 0, 0])
    }

    fn invlpg(&mut self, at: u64) {
        self.step([4, at, 0, 0, 0]);
    }

    /// The kernel writes an entry of the tables, and announces it.
    fn set_pte(&mut self, at: u64, entry: u64) {
        let place = self.guest.tables.entry(at, 1);
        self.write(va(place), entry);
        let top = self.guest.tables.top;
        self.call([hc::SET_PTE, top, at, entry]);
    }

    /// A page with a word in it that nobody can guess. The Guest has written it, so that it is there for it.
    fn page(&mut self, number: u64) -> (u64, u64) {
        let (at, word) = (FREE + number * PAGE, random() >> 1);
        self.write(va(at), word);
        (at, word)
    }

    /// Uses the table of TARGET once, at its last entry, so that the Host knows and trusts it.
    fn read_by_table(&mut self) {
        let last = TARGET + 511 * PAGE;
        self.guest.tables.map(last, FREE + 255 * PAGE, MARKED);
        self.read(last);
    }

    /// The same, and writes to it.
    fn use_table(&mut self) {
        self.read_by_table();
        self.set_pte(TARGET + 511 * PAGE, (FREE + 255 * PAGE) | MARKED);
    }

    fn run(&mut self) -> Outcome {
        self.guest.run_to_poweroff(0)
    }

    fn out(&self, result: u64) -> u64 {
        self.guest.out(result)
    }
}

fn some(from: u64, to: u64) -> u64 {
    from + random() % (to - from)
}

/// Pages 8 entries apart: none of them is entered beside another.
fn apart(number: u64) -> u64 {
    TARGET + number * 8 * PAGE
}

fn counts() -> Outcome {
    for _ in 0..2 {
        let mut plan = Plan::new();
        plan.read_by_table();
        let touched = some(5, 60);
        for number in 0..touched {
            let (page, _) = plan.page(number);
            plan.guest.tables.map(apart(number), page, MARKED);
        }
        let before = plan.faults();
        let first = plan.faults();
        for number in 0..touched {
            plan.read(apart(number));
        }
        let after = plan.faults();
        for number in 0..touched {
            plan.read(apart(number));
        }
        let again = plan.faults();
        plan.run()?;
        same("faults of no touch", plan.out(first) - plan.out(before), 0)?;
        same(
            "faults of first touches",
            plan.out(after) - plan.out(first),
            touched,
        )?;
        same(
            "faults of second touches",
            plan.out(again) - plan.out(after),
            0,
        )?;
    }
    counts_pages_that_are_fetched()
}

/// Pages that the Host has to fetch first: the answer to each fault is given twice.
fn counts_pages_that_are_fetched() -> Outcome {
    let mut plan = Plan::new();
    plan.read_by_table();
    let touched = some(5, 30);
    // Nobody has touched these, and they are far from each other.
    for number in 0..touched {
        let page = FREE + (2 * number + 10) * 8 * PAGE % 0x18_0000;
        plan.guest.tables.map(apart(number), page, MARKED);
        plan.guest.ram.discard(page, PAGE);
    }
    let before = plan.faults();
    for number in 0..touched {
        plan.read(apart(number));
    }
    let after = plan.faults();
    plan.run()?;
    same(
        "faults of pages to be fetched",
        plan.out(after) - plan.out(before),
        touched,
    )
}

fn saves_a_fault() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let touched = some(5, 40);
    let pages: Vec<_> = (0..touched).map(|number| plan.page(number)).collect();
    let before = plan.faults();
    let mut read = Vec::new();
    for (number, (page, _)) in (0..).zip(&pages) {
        // Some have an address of their own, some share one.
        let at = apart(number / 2);
        plan.set_pte(at, page | MARKED);
        read.push(plan.read(at));
        plan.write(at + 8, *page);
    }
    let after = plan.faults();
    plan.run()?;
    for (result, (_, word)) in read.iter().zip(&pages) {
        same("what is read", plan.out(*result), *word)?;
    }
    for (page, _) in &pages {
        same("what was written", plan.guest.ram.word(page + 8), *page)?;
    }
    let what = format!("faults of {touched} pages that were announced");
    same(&what, plan.out(after) - plan.out(before), 0)?;
    in_the_ring()
}

/// The same when the announcements wait in the ring.
fn in_the_ring() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let touched = some(5, 40);
    let top = plan.guest.tables.top;
    let pages: Vec<_> = (0..touched).map(|number| plan.page(number)).collect();
    for (slot, (page, _)) in (0..).zip(&pages) {
        let at = apart(slot);
        let place = plan.guest.tables.entry(at, 1);
        plan.write(va(place), page | MARKED);
        let ring = DATA + data::RING + 32 * slot;
        for (word, value) in (ring..)
            .step_by(8)
            .zip([hc::SET_PTE, top, at, page | MARKED])
        {
            plan.write(va(word), value);
        }
    }
    let before = plan.faults();
    for slot in (0..touched).step_by(8) {
        // A word of eight marks.
        let due = (touched - slot).min(8);
        let marks = if due == 8 { 0 } else { u64::MAX << (8 * due) };
        plan.write(va(DATA + data::RING_STATUS + slot), marks);
    }
    plan.call([hc::FLUSH_ASYNC, 0, 0, 0]);
    let read: Vec<_> = (0..touched).map(|slot| plan.read(apart(slot))).collect();
    let after = plan.faults();
    plan.run()?;
    for (result, (_, word)) in read.iter().zip(&pages) {
        same("what is read", plan.out(*result), *word)?;
    }
    let what = format!("faults of {touched} pages that were announced in the ring");
    same(&what, plan.out(after) - plan.out(before), 0)
}

fn the_window() -> Outcome {
    let pages = some(20, 200);
    let ran = launch(
        &["run", "/guests/guest"],
        &format!("window {pages}\nexit 0\n"),
    )?;
    let said = format!("{pages} pages in one window, ");
    let line = ran.out.lines().find_map(|line| line.strip_prefix(&said));
    let faults = line.and_then(|rest| rest.strip_suffix(" faults")?.parse::<u64>().ok());
    check!(
        faults.is_some_and(|faults| faults <= 3),
        "faults of {pages} pages in the window: expected 1, got {line:?}; it ended with {:?}",
        ran.err
    );
    Ok(())
}

fn marks() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let (fresh, fresh_word) = plan.page(0);
    let (clean, clean_word) = plan.page(1);
    let (untouched, _) = plan.page(2);
    let at = [0, 1, 2].map(apart);
    let before = plan.faults();
    plan.set_pte(at[0], fresh | pte::KERNEL);
    plan.set_pte(at[1], clean | pte::KERNEL | pte::A);
    plan.set_pte(at[2], untouched | pte::KERNEL);
    let announced = plan.faults();
    let read_fresh = plan.read(at[0]);
    let fresh_is_read = plan.faults();
    let read_clean = plan.read(at[1]);
    let clean_is_read = plan.faults();
    plan.write(at[1] + 8, 1);
    let clean_is_written = plan.faults();
    plan.run()?;
    let faults = |from, to| plan.guest.out(to) - plan.guest.out(from);
    same("faults of announcements", faults(before, announced), 0)?;
    same(
        "what is read",
        (plan.out(read_fresh), plan.out(read_clean)),
        (fresh_word, clean_word),
    )?;
    same(
        "faults of reading a page that was not accessed",
        faults(announced, fresh_is_read),
        1,
    )?;
    same(
        "faults of reading a clean page that was announced",
        faults(fresh_is_read, clean_is_read),
        0,
    )?;
    same(
        "faults of writing to that clean page",
        faults(clean_is_read, clean_is_written),
        1,
    )?;
    let entries = at.map(|at| plan.guest.tables.entry(at, 1));
    let marks = entries.map(|entry| plan.guest.ram.word(entry) & (pte::A | pte::D));
    same("marks of a page that was read", marks[0], pte::A)?;
    same(
        "marks of a page that was written to",
        marks[1],
        pte::A | pte::D,
    )?;
    same("marks of a page that was announced only", marks[2], 0)
}

fn the_table_counts() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let (true_page, word) = plan.page(0);
    let (claimed, _) = plan.page(1);
    let top = plan.guest.tables.top;
    let claims = [
        claimed | MARKED,
        claimed | pte::KERNEL | pte::A,
        0,
        1 << 50 | MARKED,
        u64::MAX,
        true_page | MARKED | pte::U,
        !0xfff | MARKED,
    ];
    let mut read = Vec::new();
    for (number, claim) in (0..).zip(claims) {
        let at = apart(number);
        let place = plan.guest.tables.entry(at, 1);
        plan.write(va(place), true_page | MARKED);
        plan.call([hc::SET_PTE, top, at, claim]);
        read.push((claim, plan.read(at)));
    }
    // And the other way round: the table has nothing, and the claim is of a page.
    let at = apart(20);
    let place = plan.guest.tables.entry(at, 1);
    plan.write(va(place), 0);
    plan.call([hc::SET_PTE, top, at, claimed | MARKED]);
    plan.read(at);
    // And a page that only its first announcement spoke of.
    let moved = apart(21);
    plan.set_pte(moved, claimed | MARKED);
    let place = plan.guest.tables.entry(moved, 1);
    plan.write(va(place), true_page | MARKED);
    plan.call([hc::SET_PTE, top, moved, claimed | MARKED]);
    let moved = plan.read(moved);
    // And one that is taken away again.
    plan.set_pte(apart(22), claimed | MARKED);
    plan.set_pte(apart(22), 0);
    plan.read(apart(22));
    plan.run()?;
    for (claim, result) in read {
        same(
            &format!("what is read when {claim:#x} was announced"),
            plan.out(result),
            word,
        )?;
    }
    same(
        "what is read after a second announcement",
        plan.out(moved),
        word,
    )?;
    same(
        "the Guest's faults where its table has nothing",
        plan.guest.trap_count(),
        2,
    )
}

/// The entry above a table has changed, and INVLPG of some other address has said so. Then an entry of each table is announced.
fn tables_elsewhere() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let (old_page, _) = plan.page(0);
    let (new_page, word) = plan.page(1);
    let at = apart(some(0, 60));
    let old = plan.guest.tables.entry(at, 1);
    let upper = plan.guest.tables.entry(at, 2);
    let twin = plan.guest.tables.page();
    plan.write(va(twin + old % PAGE), new_page | MARKED);
    // The table is used, and left without a word but an INVLPG far away.
    plan.write(va(old), old_page | MARKED);
    plan.write(va(upper), twin | pte::TABLE | pte::A);
    plan.invlpg(TARGET + (600 + some(0, 99)) * PAGE);
    let top = plan.guest.tables.top;
    plan.call([hc::SET_PTE, top, at, new_page | MARKED]);
    let result = plan.read(at);
    plan.run()?;
    same("what is read by the new table", plan.out(result), word)?;
    another_space()
}

/// A program's address in two address spaces, of which the one that is not loaded is announced.
fn another_space() -> Outcome {
    const PROGRAMS: u64 = 0x7000_0020_0000;
    let mut plan = Plan::new();
    let (first_page, first_word) = plan.page(0);
    let (second_page, second_word) = plan.page(1);
    let at = PROGRAMS + some(0, 60) * 8 * PAGE;
    plan.guest
        .tables
        .map(PROGRAMS + 511 * PAGE, first_page, MARKED);
    plan.guest.tables.map(at, first_page, MARKED);
    // The second top has tables of its own for the programs' half.
    let first = plan.guest.tables.top;
    let second = plan.guest.tables.page();
    let kernel = plan.guest.ram.bytes(first, PAGE);
    plan.guest.ram.set_bytes(second, &kernel);
    plan.guest.ram.set_word(second + 8 * index(at, 4), 0);
    plan.guest.tables.top = second;
    plan.guest
        .tables
        .map(PROGRAMS + 511 * PAGE, second_page, MARKED);
    plan.guest.tables.map(at, second_page, MARKED);
    plan.guest.tables.top = first;
    let mut read = Vec::new();
    for (space, other, word) in [
        (first, second, first_word),
        (second, first, second_word),
        (first, second, first_word),
    ] {
        plan.call([hc::NEW_PGTABLE, space, 0, 0]);
        plan.read(PROGRAMS + 511 * PAGE);
        plan.call([hc::SET_PTE, other, at, second_page | MARKED]);
        read.push((plan.read(at), word));
    }
    plan.run()?;
    for (result, word) in read {
        same(
            "what is read in an address space of two",
            plan.out(result),
            word,
        )?;
    }
    Ok(())
}

fn nothing_there() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let (page, word) = plan.page(0);
    let notes = [
        0,
        page | pte::A | pte::D | pte::W,
        random() & !pte::P | pte::A,
    ];
    for (number, note) in (0..).zip(notes) {
        plan.set_pte(apart(number), note);
        plan.read(apart(number));
    }
    let limit = plan.guest.ram.len();
    let beyond = [limit, limit + some(1, 1000) * PAGE, 1 << 45, pte::FRAME];
    for (number, frame) in (10..).zip(beyond) {
        plan.set_pte(apart(number), frame | MARKED);
    }
    // The Guest goes on, and its own pages are there.
    plan.set_pte(apart(30), page | MARKED);
    let result = plan.read(apart(30));
    plan.run()?;
    same(
        "the Guest's faults where nothing is",
        plan.guest.trap_count(),
        notes.len() as u64,
    )?;
    same(
        "error codes of these",
        plan.guest
            .trap_log()
            .iter()
            .map(|trap| trap.error & 1)
            .sum(),
        0,
    )?;
    same(
        "what is read after announcements beyond the limit",
        plan.out(result),
        word,
    )?;
    for frame in beyond {
        let mut plan = Plan::new();
        plan.use_table();
        plan.set_pte(apart(1), frame | MARKED);
        plan.read(apart(1));
        let reason = plan.guest.run()?;
        check!(
            reason.starts_with("bad page table entry"),
            "reason of a Guest that uses frame {:#x}: expected \"bad page table entry ...\", got {reason:?}",
            frame / PAGE
        );
    }
    Ok(())
}

fn refuses_rights() -> Outcome {
    let mut plan = Plan::new();
    plan.use_table();
    let (page, word) = plan.page(0);
    let at = apart(some(0, 60));
    plan.set_pte(at, page | pte::P | pte::A | pte::D);
    let result = plan.read(at);
    plan.write(at, !word);
    // A whole table that is read-only.
    let strict = TARGET + 512 * PAGE;
    let upper = plan.guest.tables.entry(strict, 2);
    plan.guest.tables.map(strict + 511 * PAGE, page, MARKED);
    let table = plan.guest.ram.word(upper);
    plan.guest.ram.set_word(upper, table & !pte::W);
    plan.read(strict + 511 * PAGE);
    plan.set_pte(strict, page | MARKED);
    plan.write(strict, !word);
    plan.run()?;
    same("what is read", plan.out(result), word)?;
    same("what is there", plan.guest.ram.word(page), word)?;
    let codes: Vec<_> = plan
        .guest
        .trap_log()
        .iter()
        .map(|trap| (trap.vector, trap.error))
        .collect();
    same("vectors and error codes", codes, vec![(14, 3); 2])?;
    same(
        "who handles them",
        plan.guest.trap(0).handler_cs,
        sel::KERNEL_CS,
    )
}

fn waits_for_nobody() -> Outcome {
    let gone = FREE + 200 * PAGE;
    for touches in [false, true] {
        let mut plan = Plan::new();
        plan.use_table();
        let (page, word) = plan.page(0);
        plan.set_pte(apart(0), gone | MARKED);
        plan.set_pte(apart(1), page | MARKED);
        let result = plan.read(apart(1));
        if touches {
            plan.read(apart(0));
        }
        plan.guest.ram.protect(gone, PAGE, ProtFlags::PROT_NONE);
        let reason = plan.guest.run()?;
        let expected = match touches {
            false => "POWEROFF: 0".to_owned(),
            true => format!("failed to get page {gone:#x}"),
        };
        same("how it ends", reason, expected)?;
        same("what is read beside it", plan.out(result), word)?;
    }
    Ok(())
}

pub fn tests() -> Vec<Case> {
    vec![
        Case::new("counts", counts),
        Case::new("saves a fault", saves_a_fault),
        Case::new("the window", the_window),
        Case::new("marks", marks),
        Case::new("the table counts", the_table_counts),
        Case::new("tables elsewhere", tables_elsewhere),
        Case::new("nothing there", nothing_there),
        Case::new("rights", refuses_rights),
        Case::new("waits for nobody", waits_for_nobody),
    ]
}
