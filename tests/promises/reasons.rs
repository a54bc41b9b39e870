//! Every reason of a death that the module knows, as its code has it, and who shows that it comes up.

use super::Shown::{self, By, Unseen};

pub const REASONS: &[(&str, Shown)] = &[
    // What a Guest asks for.
    (
        "hypercall {} before LGUEST_INIT",
        By("hostile/hypercall/0-before-init"),
    ),
    ("bad guest page {:#x}", By("hostile/init/data-at-the-limit")),
    ("already have lguest_data", By("hostile/init/twice")),
    ("Bad hypercall {}", By("hostile/hypercall/unknown-0x63")),
    ("CRASH: {}", By("hostile/crash/text")),
    ("POWEROFF: {}", By("hostile/ring/power-off")),
    (
        "bad stack segment {:#x}",
        By("hostile/set-stack/segment-0x0"),
    ),
    ("bad stack pages {}", By("hostile/set-stack/pages-0x3")),
    ("bad stack page {:#x}", By("hostile/reason/stack-page")),
    ("bad IDT type {} of vector {}", By("hostile/gate/type-0x0")),
    (
        "bad IDT handler {:#x} of vector {}",
        By("hostile/gate/6-in-switcher"),
    ),
    (
        "bad system call entry {:#x}",
        By("hostile/reason/system-call-entry-not-canonical"),
    ),
    (
        "bad descriptor {:#x} for place {}",
        By("hostile/descriptor/system-0"),
    ),
    ("bad CPU {}", By("hostile/cpus/start-0x3")),
    (
        "bad CPU entry {:#x}",
        By("hostile/cpus/entry-0x8000000000000000"),
    ),
    ("bad interrupt {}", By("hostile/cpus/interrupt-number-0x20")),
    ("bad CPUs {:#x}", By("hostile/cpus/interrupt-0x8")),
    ("bad promise {:#x}", By("hostile/promise/bits-0x2")),
    (
        "bad address of lguest_data {:#x}",
        By("hostile/promise/data-not-aligned"),
    ),
    // What its tables say.
    (
        "bad page directory {:#x}",
        By("hostile/reason/page-directory"),
    ),
    (
        "bad page directory entry {:#x} at level {}",
        By("hostile/reason/page-directory-entry"),
    ),
    (
        "bad page table {:#x} entry {}",
        By("hostile/reason/entry-of-no-table"),
    ),
    (
        "bad page table entry {:#x}",
        By("hostile/reason/page-table-entry"),
    ),
    (
        "bad page table entry: frame {:#x} is beyond the limit",
        By("hostile/table/2m-page-across-the-limit"),
    ),
    (
        "attempt to access switcher pages at {:#x}",
        By("hostile/recursive/writes-the-switchers-slot"),
    ),
    (
        "unhandled trap {} at {:#x} ({:#x})",
        By("hostile/address/not-mapped"),
    ),
    // What it offers and sends.
    ("bad dma key {:#x}", By("hostile/send/key-0x1")),
    (
        "bad DMA entry {:#x} len {}",
        By("hostile/send/entry-beyond-memory"),
    ),
    (
        "bad DMA buffers {:#x} count {}",
        By("hostile/reason/array-beyond-memory"),
    ),
    (
        "bad read address {:#x} len {}",
        By("hostile/reason/list-beyond-memory"),
    ),
    (
        "bad address in sending DMA",
        By("between/hostile/senders-piece-unmapped"),
    ),
    (
        "bad address in registered DMA struct {:#x}",
        By("between/hostile/receivers-list-unmapped"),
    ),
    (
        "Error mapping DMA pages {:#x}",
        By("between/hostile/receivers-piece-unmapped"),
    ),
    // Memory that the Launcher has not, or the Host.
    ("failed to get page {:#x}", By("errno/save/it-dies-of-it")),
    (
        "out of memory getting page {:#x}",
        By("short/no-page-for-the-guest"),
    ),
    (
        "out of memory allocating pte page",
        By("short/no-tables-for-the-guest"),
    ),
    ("out of memory sending DMA", By("between/no-memory-to-send")),
    // What no CPU does, and QEMU.
    (
        "trap outside the Switcher's stack at {:#x}",
        By("hostile/stack-selector/null-of-ring-0"),
    ),
    (
        "flags {:#x} that only ring 0 can set",
        By("hostile/virtual-8086/invalid-opcode"),
    ),
    (
        "trap {} inside the Switcher at {:#x}",
        Unseen(
            "a case brings it about on a CPU; QEMU goes to the bad address and traps there, in ring 1",
        ),
    ),
    // What nobody can show.
    (
        "the Host's global pages are on",
        Unseen("only if the module is wrong: `make teeth` takes the rule out of it"),
    ),
    (
        "entered in a stay of another CPU's",
        Unseen("only if the module is wrong"),
    ),
    (
        "exception {} from a hypervisor below the Host",
        Unseen("only if there is one that does so, and QEMU does not"),
    ),
    (
        "bad write address {:#x} len {}",
        Unseen("a second check: whoever writes to the Guest has checked the place before"),
    ),
    (
        "bad {} address {:#x} len 8",
        Unseen("a second check: words lie in what LGUEST_INIT and the walk have checked"),
    ),
    (
        "bad registered DMA buffer {:#x}",
        Unseen("a second check: BIND_DMA has refused an array that is too long"),
    ),
    (
        "memory was asked for what only a CPU has",
        Unseen(
            "a second check: the CPU looks after mappings and deliveries before it asks its memory",
        ),
    ),
];
