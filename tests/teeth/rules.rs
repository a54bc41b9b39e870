//! The rules that this book argues for and no compiler knows, each with the edit that takes it out of the code.
//!
//! The table on the page `chapters/M200-teeth.md` is this one; a test compares them.

use crate::common::Emulator;
use Emulator::{Bochs, Qemu};

/// A rule, and what happens without it.
pub struct Rule {
    /// A short name, as the page has it.
    pub name: &'static str,
    /// What takes it out: in this file of `generated/module`, this text, which is there once, becomes that.
    pub without: &'static [(&'static str, &'static str, &'static str)],
    /// Who shows it.
    pub shown_by: Emulator,
    /// The cases of `tests/vm` that run, as filters. With the rule in place they pass there.
    pub cases: &'static str,
    /// What is then printed: that a case fails, or how the Host dies.
    pub sign: &'static str,
}

pub const RULES: &[Rule] = &[
    Rule {
        name: "global pages are off",
        without: &[
            (
                "arch/lent.rs",
                "if cr4 & without != 0 {\n                cpu::write_cr4(cr4 & !without);",
                "if cr4 == 0 {\n                cpu::write_cr4(cr4 & !without);",
            ),
            (
                "arch/switcher.S",
                "testl ${PGE}, %eax",
                "testl ${PGE}, %ecx",
            ),
        ],
        shown_by: Bochs,
        cases: "hostile/host-image",
        sign: "FAIL hostile/host-image/no-page-can-be-read",
    },
    Rule {
        name: "nobody enters with global pages on",
        without: &[(
            "arch/lent.rs",
            "if cr4 & without != 0 {\n                cpu::write_cr4(cr4 & !without);",
            "if cr4 == 0 {\n                cpu::write_cr4(cr4 & !without);",
        )],
        shown_by: Qemu,
        cases: "start/",
        sign: "FAIL start/",
    },
    Rule {
        name: "what a table said is forgotten within a stay, too",
        without: &[(
            "arch/processor.rs",
            "} else if !changed {",
            "} else if changed || !changed {",
        )],
        shown_by: Bochs,
        cases: "paging/within-a-stay",
        sign: "FAIL paging/within-a-stay/set-pte",
    },
    Rule {
        name: "nothing of other tables is remembered",
        without: &[(
            "arch/processor.rs",
            "            stay.tables = tables;",
            "            cr3 |= self.area.state().keep * u64::from(stay.tables != 0 && !changed);\n            stay.tables = tables;",
        )],
        shown_by: Bochs,
        cases: "paging/within-a-stay",
        sign: "FAIL paging/within-a-stay/new-pgtable",
    },
    Rule {
        name: "S_CET is clear",
        without: &[(
            "arch/lent.rs",
            "Lent::take(msr::S_CET, |_| 0)",
            "Lent::take(msr::S_CET, |own| own)",
        )],
        shown_by: Bochs,
        cases: "start/",
        sign: "Missing ENDBR",
    },
    Rule {
        name: "LSTAR leads to our stub",
        without: &[(
            "arch/lent.rs",
            "Lent::take(msr::LSTAR, |_| syscall)",
            "Lent::take(msr::LSTAR, |own| if syscall == 0 { syscall } else { own })",
        )],
        shown_by: Qemu,
        cases: "syscall/what-the-entry-finds",
        sign: "FAIL syscall/what-the-entry-finds",
    },
    Rule {
        name: "LSTAR and the like are the Host's again",
        without: &[(
            "arch/lent.rs",
            "for lent in self.registers.iter().flatten() {\n                lent.give_back();",
            "for lent in self.registers.iter().flatten() {\n                let _ = lent;",
        )],
        shown_by: Qemu,
        cases: "start/",
        sign: "the Host's kernel complained",
    },
    Rule {
        name: "SYSENTER is off",
        without: &[(
            "arch/lent.rs",
            "cpu::write_msr(msr::SYSENTER_CS, 0);\n            cpu::write_msr(msr::SYSENTER_ESP, host_cr3",
            "cpu::write_msr(msr::SYSENTER_CS, sysenter[0]);\n            cpu::write_msr(msr::SYSENTER_ESP, host_cr3",
        )],
        shown_by: Bochs,
        cases: "hostile/ring3/sysenter",
        sign: "FAIL hostile/ring3/sysenter",
    },
    Rule {
        name: "DR7 is clear",
        without: &[(
            "arch/lent.rs",
            "cpu::write_dr7(DR7_NONE);",
            "cpu::write_dr7(dr7);",
        )],
        shown_by: Qemu,
        cases: "launcher/breakpoints-kept",
        sign: "FAIL launcher/breakpoints-kept",
    },
    Rule {
        name: "DR7 is the Host's again",
        without: &[(
            "arch/lent.rs",
            "cpu::write_dr7(self.dr7);",
            "let _ = self.dr7;",
        )],
        shown_by: Qemu,
        cases: "launcher/breakpoints-kept",
        sign: "FAIL launcher/breakpoints-kept",
    },
    Rule {
        name: "the base of FS is the Launcher's again",
        without: &[(
            "arch/segment.rs",
            "unsafe { cpu::write_msr(msr::FS_BASE, self.fs_base) };",
            "let _ = self.fs_base;",
        )],
        shown_by: Qemu,
        cases: "launcher/segment-bases-kept",
        sign: "FAIL launcher/segment-bases-kept",
    },
    Rule {
        name: "the base of GS is the Launcher's again",
        without: &[(
            "arch/segment.rs",
            "cpu::write_msr(msr::KERNEL_GS_BASE, base);",
            "let _ = base;",
        )],
        shown_by: Qemu,
        cases: "segments/",
        sign: "FAIL segments/fs-and-gs-are-kept-with-their-bases",
    },
    Rule {
        name: "the local table is the Launcher's again",
        without: &[(
            "arch/segment.rs",
            "unsafe { load_local_table(self.ldt) };",
            "let _ = self.ldt;",
        )],
        shown_by: Qemu,
        cases: "segments/",
        sign: "FAIL segments/ds-and-es-are-kept",
    },
    Rule {
        name: "the Host's TSS is not busy when it is loaded",
        without: &[(
            "arch/task_register.rs",
            "self.own[0] & !TSS_BUSY",
            "self.own[0] | TSS_BUSY",
        )],
        shown_by: Qemu,
        cases: "start/",
        sign: "segment-related general protection fault",
    },
    Rule {
        name: "the task register is loaded while the GDT can be written",
        without: &[(
            "arch/task_register.rs",
            "\"ltr {selector:x}\",\n                \"lgdt [{table}]\",",
            "\"lgdt [{table}]\",\n                \"ltr {selector:x}\",",
        )],
        shown_by: Qemu,
        cases: "start/",
        sign: "#PF: error_code(0x0003) - permissions violation",
    },
    Rule {
        name: "the FPU's registers are the Guest's own",
        without: &[(
            "arch/fpu.rs",
            "guard: self.guard(),\n        };\n        self.restore();",
            "guard: self.guard(),\n        };",
        )],
        shown_by: Qemu,
        cases: "hostile/fpu",
        sign: "FAIL hostile/fpu/no-leak",
    },
    Rule {
        name: "PKRU is the Launcher's again",
        without: &[(
            "arch/fpu.rs",
            "unsafe { cpu::write_pkru(rights) };",
            "let _ = rights;",
        )],
        shown_by: Bochs,
        cases: "hostile/fpu/all-rights",
        sign: "FAIL hostile/fpu/all-rights-taken-away-by-pkru",
    },
    Rule {
        name: "no page is looked for while something changes",
        without: &[(
            "arch/frames.rs",
            "self.changes.are_under_way() || number >= count",
            "number >= count",
        )],
        shown_by: Qemu,
        cases: "churn/never-backwards",
        sign: "FAIL churn/never-backwards/mapped-over",
    },
    Rule {
        name: "where the stack and the code are is forgotten with an entry",
        without: &[(
            "arch/page.rs",
            "needed | barred, self.changes)",
            "needed | barred, 0)",
        )],
        shown_by: Qemu,
        cases: "paging/within-a-stay",
        sign: "FAIL paging/within-a-stay/stack-of-a-trap",
    },
    Rule {
        name: "INVLPG doubts all tables",
        without: &[("shadow.rs", "shared.catalog.doubt_all();", "")],
        shown_by: Qemu,
        cases: "paging/within-a-stay/invlpg",
        sign: "FAIL paging/within-a-stay/invlpg/of-a-table",
    },
    Rule {
        name: "a fault doubts the table that it came by",
        without: &[(
            "shadow.rs",
            "shared.catalog.doubt(known.table.index());",
            "let _ = known;",
        )],
        shown_by: Qemu,
        cases: "paging/a-fault-forgets",
        sign: "FAIL paging/a-fault-forgets-the-tables-on-the-way",
    },
];
