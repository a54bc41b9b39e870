//! Page tables as a CPU would read and mark them.

use crate::abi::hc;
use crate::blobs::{Blob, work};
use crate::guest::Guest;
use crate::harness::{Case, Outcome, check, same};
use crate::layout::*;
use crate::tables::pte;

const TARGET: u64 = 0xffff_9000_0000_0000;

/// Touches TARGET (bit 0 reads, bit 1 writes), mapped at `level` (1 or 2); the entry afterwards.
fn touched(level: u32, access: u64) -> Outcome<(Guest, u64)> {
    let mut guest = Guest::new(work::TOUCH);
    match level {
        1 => guest.tables.map(TARGET, FREE, pte::KERNEL),
        _ => guest.tables.map_2m(TARGET, 2 << 20, pte::KERNEL),
    }
    let at = guest.tables.entry(TARGET, level);
    guest.param(0, TARGET).param(1, access);
    guest.run_to_poweroff(0)?;
    let entry = guest.ram.word(at);
    Ok((guest, entry))
}

/// A and D, as a number: 0 none, 1 accessed, 3 accessed and dirty.
fn marks(entry: u64) -> u64 {
    u64::from(entry & pte::A != 0) + 2 * u64::from(entry & pte::D != 0)
}

/// Changes the entry of TARGET from one page to another while it is in use; `how` is the parameter of REMAP.
fn remap(how: u64) -> Outcome {
    let mut guest = Guest::new(work::REMAP);
    guest.tables.map(TARGET, FREE, pte::KERNEL);
    let at = guest.tables.entry(TARGET, 1);
    guest.ram.set_word(FREE, 0x1111);
    guest.ram.set_word(FREE + PAGE, 0x2222);
    guest
        .param(0, TARGET)
        .param(1, va(at))
        .param(2, (FREE + PAGE) | pte::KERNEL)
        .param(3, how);
    guest.run_to_poweroff(0)?;
    same("before", guest.out(0), 0x1111)?;
    same("after", guest.out(1), 0x2222)
}

/// A way to tell the Host that an entry has changed, and the level of the table in which it has. The hypercall is made of the tables'
/// address, that of the page and that of the entry.
type Telling = (&'static str, u32, fn(u64, u64, u64) -> [u64; 4]);

const TELLING: &[Telling] = &[
    ("set-pte", 1, |top, page, _| [hc::SET_PTE, top, page, 0]),
    ("set-table", 1, |top, page, _| [hc::SET_TABLE, top, page, 1]),
    ("set-table/of-a-table", 2, |top, page, _| {
        [hc::SET_TABLE, top, page, 2]
    }),
    ("set-entry", 1, |_, _, entry| set_entry(entry)),
    ("set-entry/of-a-table", 2, |_, _, entry| set_entry(entry)),
    ("invlpg", 1, |_, _, _| [0; 4]),
    ("invlpg/of-a-table", 2, |_, _, _| [0; 4]),
    ("flush-tlb", 1, |_, _, _| [hc::FLUSH_TLB, 0, 0, 0]),
    ("flush-tlb/of-a-table", 2, |_, _, _| {
        [hc::FLUSH_TLB, 0, 0, 0]
    }),
    ("flush-tlb/of-all", 1, |_, _, _| [hc::FLUSH_TLB, 1, 0, 0]),
];

fn set_entry(at: u64) -> [u64; 4] {
    [hc::SET_ENTRY, at & !(PAGE - 1), at % PAGE / 8, 0]
}

/// A page that Bochs remembers from one look at it to the next. It has one place for all pages whose numbers end alike, and neither
/// the guest's kernel nor the Switcher has one that ends like this; and what ring 1 sees in the lower half of addresses it looks up
/// each time, on a CPU with LASS and SMAP.
const KEPT: u64 = 0xffff_9000_0065_5000;

/// How often; nearly all of it is within a stay, as it needs nothing that is not at hand.
const ROUNDS: u64 = 1000;

/// A guest that has KEPT on FREE in one table and on the next page in another, which differ at `level`; the entry that decides and
/// its two values.
fn two_mappings(body: Blob, level: u32) -> (Guest, u64, [u64; 2]) {
    const MARKED: u64 = pte::KERNEL | pte::A | pte::D;
    let mut guest = Guest::new(body);
    guest.ram.set_word(FREE, 0x1111);
    guest.ram.set_word(FREE + PAGE, 0x2222);
    guest.tables.map(KEPT, FREE, MARKED);
    let mut at = guest.tables.entry(KEPT, 1);
    let mut values = [FREE, FREE + PAGE].map(|page| page | MARKED);
    // From the last table up, a twin of each.
    for above in 2..=level {
        let twin = guest.tables.page();
        guest
            .ram
            .set_bytes(twin, &guest.ram.bytes(at & !(PAGE - 1), PAGE));
        guest.ram.set_word(twin + at % PAGE, values[1]);
        let table = at & !(PAGE - 1);
        at = guest.tables.entry(KEPT, above);
        values = [table, twin].map(|table| table | pte::TABLE | pte::A);
    }
    (guest, at, values)
}

/// Lets the guest change an entry again and again, and fails unless it sees that each time.
fn remap_often(mut guest: Guest, entry: u64, values: [u64; 2], call: [u64; 4]) -> Outcome {
    guest.param(0, KEPT).param(1, va(entry)).param(8, ROUNDS);
    let parameters = values.into_iter().chain(call);
    for (index, value) in (2..).zip(parameters) {
        guest.param(index, value);
    }
    guest.boot()?;
    let reason = guest.finish()?;
    guest.powered_off(&reason, 0).map_err(|e| {
        let (read, left) = (guest.out(0), guest.out(1));
        format!("{e}; in round {} it read {read:#x}", ROUNDS - left)
    })
}

/// A guest that has another page at one address, again and again.
fn page_moves(body: Blob, rounds: u64) -> Guest {
    const MARKED: u64 = pte::KERNEL | pte::A | pte::D;
    let mut guest = Guest::new(body);
    guest.tables.map(KEPT, FREE, MARKED);
    let entry = guest.tables.entry(KEPT, 1);
    let top = guest.tables.top;
    let parameters = [
        KEPT,
        va(entry),
        FREE | MARKED,
        (FREE + PAGE) | MARKED,
        rounds,
        top,
    ];
    for (index, value) in (0..).zip(parameters) {
        guest.param(index, value);
    }
    guest
}

fn stack_moves() -> Outcome {
    const TIMES: u64 = 30;
    let mut guest = page_moves(work::STACK_MOVES, TIMES);
    guest.traps();
    guest.run_to_poweroff(0)?;
    let places: Vec<u64> = guest.trap_log().iter().map(|trap| trap.rip).collect();
    same("traps", places.len() as u64, TIMES)?;
    same("where", places.clone(), vec![places[0]; places.len()])
}

fn code_moves() -> Outcome {
    const READ_CR3: [u8; 4] = [0x0f, 0x20, 0xd8, 0xc3];
    const READ_CR0: [u8; 4] = [0x0f, 0x20, 0xc0, 0xc3];
    let mut guest = page_moves(work::CODE_MOVES, ROUNDS);
    guest.ram.set_bytes(FREE, &READ_CR3);
    guest.ram.set_bytes(FREE + PAGE, &READ_CR0);
    guest.run_to_poweroff(0)
}

fn new_pgtable_often() -> Outcome {
    let (mut guest, entry, values) = two_mappings(work::REMAP_OFTEN, 4);
    let first = guest.tables.top;
    let second = guest.tables.page();
    guest.ram.set_bytes(second, &guest.ram.bytes(first, PAGE));
    guest.ram.set_word(second + entry % PAGE, values[1]);
    // What is put is read by nobody.
    remap_often(
        guest,
        FREE + 2 * PAGE,
        [first, second],
        [hc::NEW_PGTABLE, 0, 0, 0],
    )
}

/// A guest that has TARGET on FREE, where 0x1111 stands; 0x2222 is on the next page.
fn two_values(blob: Blob) -> (Guest, u64) {
    let mut guest = Guest::new(blob);
    guest.tables.map(TARGET, FREE, pte::KERNEL);
    let at = guest.tables.entry(TARGET, 1);
    guest.ram.set_word(FREE, 0x1111);
    guest.ram.set_word(FREE + PAGE, 0x2222);
    guest.param(0, TARGET);
    (guest, at)
}

fn remap_with_set_entry() -> Outcome {
    let (mut guest, at) = two_values(work::REMAP_ENTRY);
    guest
        .param(1, va(at))
        .param(2, (FREE + PAGE) | pte::KERNEL)
        .param(3, at & !(PAGE - 1))
        .param(4, at % PAGE / 8);
    guest.run_to_poweroff(0)?;
    same("before", guest.out(0), 0x1111)?;
    same("after", guest.out(1), 0x2222)
}

/// The table in which TARGET is belongs to the first tables only; the second have the rest.
fn remap_while_not_loaded() -> Outcome {
    let (mut guest, at) = two_values(work::REMAP_UNLOADED);
    let second = FREE + 16 * PAGE;
    let top = guest.tables.top;
    guest.ram.set_bytes(second, &guest.ram.bytes(top, PAGE));
    guest
        .ram
        .set_word(second + 8 * crate::tables::index(TARGET, 4), 0);
    guest
        .param(1, second)
        .param(2, va(at))
        .param(3, (FREE + PAGE) | pte::KERNEL)
        .param(4, at & !(PAGE - 1))
        .param(5, at % PAGE / 8)
        .param(6, top);
    guest.run_to_poweroff(0)?;
    same("before", guest.out(0), 0x1111)?;
    same("after", guest.out(1), 0x2222)
}

/// The entry above a table is changed without a word; then a page that neither the old table nor the new one has is touched, which is
/// a fault. After that both have it, and the new one counts: a CPU forgets the tables on the way when it delivers a fault.
fn a_fault_forgets_the_tables() -> Outcome {
    let (mut guest, upper, tables) = two_mappings(work::REMAP_BY_FAULT, 2);
    guest.traps();
    let missing = KEPT + 64 * PAGE;
    let entries = tables.map(|table| va(table & pte::FRAME) + missing % (512 * PAGE) / PAGE * 8);
    let parameters = [
        KEPT,
        va(upper),
        tables[1],
        missing,
        entries[0],
        FREE | pte::KERNEL,
        entries[1],
        (FREE + PAGE) | pte::KERNEL,
    ];
    for (index, value) in (0..).zip(parameters) {
        guest.param(index, value);
    }
    guest.run_to_poweroff(0)?;
    same("before", guest.out(0), 0x1111)?;
    same("faults", guest.trap_count(), 1)?;
    same("after", guest.out(1), 0x2222)
}

/// Of two entries that were changed, one was announced by INVLPG.
fn invlpg_forgets_one_page() -> Outcome {
    let (mut guest, at) = two_values(work::INVLPG_ONE);
    let other = TARGET + 64 * PAGE;
    guest.tables.map(other, FREE, pte::KERNEL);
    let other_at = guest.tables.entry(other, 1);
    guest
        .param(1, other)
        .param(2, va(at))
        .param(3, (FREE + PAGE) | pte::KERNEL)
        .param(4, va(other_at))
        .param(5, (FREE + PAGE) | pte::KERNEL);
    guest.run_to_poweroff(0)?;
    same("the page of INVLPG", guest.out(0), 0x2222)?;
    same("the other", guest.out(1), 0x1111)
}

/// What a guest sees of FREE after `change` has been done to the Launcher's memory there.
fn changed_by_launcher(change: impl FnOnce(&crate::ram::Ram) + Send + 'static) -> Outcome<u64> {
    let mut guest = Guest::new(work::WAIT_FOR_CHANGE);
    guest.param(0, va(FREE));
    guest.ram.set_word(FREE, 0x1111);
    guest.boot()?;
    let ram = guest.ram.clone();
    let launcher = std::thread::spawn(move || {
        crate::harness::wait_until("the guest has read", || ram.word(COUNT) > 0)?;
        change(&ram);
        // Time enough for a guest that sees it; one that does not is told to give up.
        let _ = crate::harness::wait_until("the guest has ended", || ram.word(STOP) != 0);
        ram.set_word(STOP, 1);
        Ok(())
    });
    let reason = guest.finish()?;
    guest.ram.set_word(STOP, 1);
    crate::harness::join(launcher)?;
    guest.powered_off(&reason, 0)?;
    same("before", guest.out(0), 0x1111)?;
    Ok(guest.out(1))
}

/// A protection key that nobody here may read with; `None` where there are none.
fn forbidden_key() -> Option<libc::c_long> {
    const DISABLE_ACCESS: libc::c_ulong = 1;
    // SAFETY: A new key changes no memory.
    let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, DISABLE_ACCESS) };
    (key >= 0).then_some(key)
}

/// A page that is there, under a key that forbids the Launcher to read it.
fn forbidden_by_a_key(key: libc::c_long) -> Outcome {
    let mut guest = Guest::new(work::TOUCH);
    guest.ram.set_word(FREE, 0x1111);
    guest.param(0, va(FREE)).param(1, 1);
    let with_key = |key: libc::c_long| {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let at = guest.ram.base() + FREE;
        // SAFETY: the page is the guest's, and nobody here touches it as long as that is forbidden.
        unsafe { libc::syscall(libc::SYS_pkey_mprotect, at, PAGE, rights, key) }
    };
    same("pkey_mprotect", with_key(key), 0)?;
    let reason = guest.run()?;
    same("reason", reason, format!("failed to get page {FREE:#x}"))
}

/// One page of the guest's at four addresses; then the Launcher has another one there.
fn taken_back_from_all() -> Outcome {
    let mut guest = Guest::new(work::READ_FOUR);
    for number in 0..4 {
        // Far enough from each other that none is mapped beside another.
        let address = TARGET + 64 * number * PAGE;
        guest.tables.map(address, FREE, pte::KERNEL);
        guest.param(number, address);
    }
    guest.ram.set_word(FREE, 0x1111);
    guest.boot()?;
    let ram = guest.ram.clone();
    let launcher = std::thread::spawn(move || {
        let read = crate::harness::wait_until("the guest has read", || ram.word(COUNT) > 0);
        ram.replace(FREE, 0x2222);
        ram.set_word(STOP, 1);
        read
    });
    let reason = guest.finish()?;
    crate::harness::join(launcher)?;
    guest.powered_off(&reason, 0)?;
    let seen: Vec<_> = (0..4).map(|number| guest.out(number)).collect();
    same("at each address", seen, vec![0x2222; 4])
}

/// A table that two entries of level 2 lead to is trusted by one way. The other one is not.
fn one_table_by_two_ways(alias: bool) -> Outcome {
    let (mut guest, upper, tables) = two_mappings(work::REMAP_ALIAS, 2);
    guest.traps();
    const WAY: u64 = KEPT + 512 * PAGE;
    let other = WAY + 64 * PAGE;
    guest.tables.set(WAY, 2, tables[0]);
    guest.tables.set(other, 1, FREE | pte::KERNEL);
    let touched = if alias { other } else { va(FREE) };
    for (index, value) in (0..).zip([KEPT, va(upper), tables[1], touched]) {
        guest.param(index, value);
    }
    guest.run_to_poweroff(0)?;
    same("before", guest.out(0), 0x1111)?;
    same("by the other way", guest.out(2), 0x1111)?;
    same("after", guest.out(1), 0x2222)
}

pub(super) fn cases() -> Vec<Case> {
    let within_a_stay = TELLING.iter().map(|(way, level, call)| {
        Case::new(format!("paging/within-a-stay/{way}"), || {
            let (guest, entry, values) = two_mappings(work::REMAP_OFTEN, *level);
            let call = call(guest.tables.top, KEPT, entry);
            remap_often(guest, entry, values, call)
        })
    });
    let mut cases = vec![
        Case::new("paging/one-table-by-one-way", || {
            one_table_by_two_ways(false)
        }),
        Case::new("paging/one-table-by-two-ways", || {
            one_table_by_two_ways(true)
        }),
        Case::new("paging/within-a-stay/new-pgtable", new_pgtable_often),
        Case::new(
            "paging/a-page-at-four-addresses-is-taken-back-from-all",
            taken_back_from_all,
        ),
        Case::new("paging/within-a-stay/stack-of-a-trap", stack_moves),
        Case::new("paging/within-a-stay/code-that-is-emulated", code_moves),
        Case::new("paging/remap-with-set-entry", remap_with_set_entry),
        Case::new(
            "paging/set-entry-of-tables-not-loaded",
            remap_while_not_loaded,
        ),
        Case::new("paging/invlpg-forgets-one-page", invlpg_forgets_one_page),
        Case::new(
            "paging/a-fault-forgets-the-tables-on-the-way",
            a_fault_forgets_the_tables,
        ),
        Case::new("paging/discarded-memory-is-empty", || {
            same(
                "after",
                changed_by_launcher(|ram| ram.discard(FREE, PAGE))?,
                0,
            )
        }),
        Case::new("paging/other-memory-in-the-same-place", || {
            let changed = |ram: &crate::ram::Ram| ram.replace(FREE, 0x2222);
            same("after", changed_by_launcher(changed)?, 0x2222)
        }),
        Case::new("paging/read-only-memory-can-be-read", || {
            let mut guest = Guest::new(work::TOUCH);
            guest.ram.set_word(FREE, 0x1111);
            let read_only = nix::sys::mman::ProtFlags::PROT_READ;
            guest.ram.protect(FREE, PAGE, read_only);
            guest.param(0, va(FREE)).param(1, 1);
            guest.run_to_poweroff(0)?;
            same("read", guest.out(0), 0x1111)
        }),
        Case::new("paging/untouched-is-unmarked", || {
            same("A and D", marks(touched(1, 0)?.1), 0)
        }),
        Case::new("paging/reading-marks-accessed", || {
            same("A and D", marks(touched(1, 1)?.1), 1)
        }),
        Case::new("paging/writing-marks-dirty", || {
            same("A and D", marks(touched(1, 2)?.1), 3)
        }),
        Case::new("paging/reading-then-writing-marks-dirty", || {
            same("A and D", marks(touched(1, 3)?.1), 3)
        }),
        Case::new("paging/reading-marks-the-tables-on-the-way", || {
            let (mut guest, _) = touched(1, 1)?;
            for level in 2..=4 {
                let at = guest.tables.entry(TARGET, level);
                check!(
                    guest.ram.word(at) & pte::A != 0,
                    "the entry of level {level} is not marked accessed"
                );
            }
            Ok(())
        }),
        Case::new("paging/marks-again-after-a-flush", || {
            let mut guest = Guest::new(work::TOUCH_AGAIN);
            guest.tables.map(TARGET, FREE, pte::KERNEL);
            let at = guest.tables.entry(TARGET, 1);
            guest.param(0, TARGET).param(1, va(at));
            guest.run_to_poweroff(0)?;
            same("A and D after reading and writing", marks(guest.out(0)), 3)?;
            same(
                "A and D after clearing and FLUSH_TLB",
                marks(guest.out(1)),
                0,
            )?;
            same("A and D after reading", marks(guest.out(2)), 1)?;
            same("A and D after writing", marks(guest.out(3)), 3)
        }),
        Case::new("paging/2m-page", || {
            let mut guest = Guest::new(work::TOUCH);
            guest.tables.map_2m(TARGET, 2 << 20, pte::KERNEL);
            guest.param(0, TARGET + 0x12_3450).param(1, 3);
            guest.ram.set_word((2 << 20) + 0x12_3450, 0x7777);
            guest.run_to_poweroff(0)?;
            same("read", guest.out(0), 0x7777)?;
            same("written", guest.ram.word((2 << 20) + 0x12_3450), 0x5afe)
        }),
        Case::new("paging/2m-page-is-marked", || {
            same("A and D after reading", marks(touched(2, 1)?.1), 1)?;
            same("A and D after writing", marks(touched(2, 2)?.1), 3)
        }),
        Case::new("paging/2m-page-every-part", || {
            let mut guest = Guest::new(crate::blobs::attack::TOUCH_MANY);
            guest.tables.map_2m(TARGET, 2 << 20, pte::KERNEL);
            guest
                .param(0, TARGET)
                .param(1, PAGE)
                .param(2, 512)
                .param(3, 2);
            guest.run_to_poweroff(0)?;
            for page in 0..512 {
                same(
                    &format!("page {page}"),
                    guest.ram.word((2 << 20) + page * PAGE),
                    2,
                )?;
            }
            Ok(())
        }),
        Case::new("paging/remap-with-set-pte", || remap(0)),
        Case::new("paging/remap-with-flush-tlb", || remap(1)),
        Case::new("paging/remap-with-set-table", || remap(2)),
        Case::new("paging/other-tables-with-new-pgtable", || {
            // Two top levels that differ in TARGET only; the script switches to the second.
            let mut guest = Guest::new(work::TOUCH);
            let second = FREE + 16 * PAGE;
            guest.tables.map(TARGET, FREE, pte::KERNEL);
            guest
                .ram
                .set_bytes(second, &guest.ram.bytes(guest.tables.top, PAGE));
            let (level3, level2, level1) = (second + PAGE, second + 2 * PAGE, second + 3 * PAGE);
            guest.ram.set_word(
                second + 8 * crate::tables::index(TARGET, 4),
                level3 | pte::TABLE,
            );
            guest.ram.set_word(level3, level2 | pte::TABLE);
            guest.ram.set_word(level2, level1 | pte::TABLE);
            guest.ram.set_word(level1, (FREE + PAGE) | pte::KERNEL);
            guest.ram.set_word(FREE, 0x1111);
            guest.ram.set_word(FREE + PAGE, 0x2222);
            guest.call([hc::NEW_PGTABLE, second, 0, 0]);
            guest.param(0, TARGET).param(1, 1);
            guest.run_to_poweroff(0)?;
            same("read through the second tables", guest.out(0), 0x2222)
        }),
        Case::new("paging/one-page-at-two-addresses", || {
            let mut guest = Guest::new(work::TOUCH);
            guest.tables.map(TARGET, FREE, pte::KERNEL);
            guest.tables.map(TARGET + PAGE, FREE, pte::P);
            guest.param(0, TARGET).param(1, 2);
            guest.run_to_poweroff(0)?;
            same("written through one", guest.ram.word(FREE), 0x5afe)
        }),
        Case::new("paging/guest-sees-what-the-launcher-writes", || {
            let mut guest = Guest::new(work::COUNT_UP);
            guest.boot()?;
            let ram = guest.ram.clone();
            let other = std::thread::spawn(move || {
                let counted =
                    crate::harness::wait_until("the guest counts", || ram.word(COUNT) > 100);
                ram.set_word(STOP, 1);
                counted
            });
            let reason = guest.finish()?;
            crate::harness::join(other)?;
            guest.powered_off(&reason, 0)
        }),
        Case::new("paging/fork-of-the-launcher-tears-nothing", || {
            // After fork the Launcher's pages are copied on write: guest and Launcher must still see the same ones.
            use nix::unistd::{ForkResult, fork};
            let mut guest = Guest::new(work::SEND_MANY);
            guest.dma(DMA, &[(BUFFER, 16)]);
            guest.param(0, 6);
            guest.boot()?;
            for _ in 0..6 {
                guest.step()?;
                // SAFETY: this case has one thread.
                let child = match unsafe { fork() }.map_err(|e| e.to_string())? {
                    ForkResult::Child => loop {
                        nix::unistd::pause();
                    },
                    ForkResult::Parent { child } => child,
                };
                guest.ram.set_word32(DMA, 16);
                same(
                    "what the Launcher sees of the guest's count",
                    guest.ram.word(COUNT),
                    guest.ram.word(COUNT),
                )?;
                let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGSTOP);
            }
            guest.powered_off(&guest.finish()?, 0)?;
            same(
                "lists that the guest saw answered",
                guest.ram.word(COUNT),
                6,
            )
        }),
        Case::new("paging/shared-memory", || {
            // A guest in a mapping that two processes share.
            let mut guest = Guest::in_memory(work::TOUCH, crate::ram::Ram::shared(MEMORY));
            guest.param(0, va(FREE)).param(1, 3);
            guest.run_to_poweroff(0)?;
            same("written", guest.ram.word(FREE), 0x5afe)
        }),
    ];
    cases.extend(within_a_stay);
    if let Some(key) = forbidden_key() {
        cases.push(Case::new(
            "paging/forbidden-by-a-protection-key",
            move || forbidden_by_a_key(key),
        ));
    }
    cases
}
