//! Which instructions cost more than their number says: those that only ring 0 may execute, and those that make the CPU finish
//! everything before them.
//!
//! Only the bytes are looked at. A Guest's `mov %cr3` counts although it traps, and counts where the Host executes one for it, too.

/// What an instruction is, if it is one of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// `mov` to CR3: another address space, and what the TLB held of the last.
    WriteCr3,
    /// `mov` to CR4.
    WriteCr4,
    /// `mov` to CR0, CR2 or CR8, `lmsw`, `clts`.
    WriteCr,
    /// `mov` from a control register.
    ReadCr,
    /// `wrmsr`.
    WriteMsr,
    /// `rdmsr`.
    ReadMsr,
    /// `lgdt`, `lidt`, `lldt`, `ltr`.
    LoadTable,
    /// `invlpg`, `invlpga`, `invpcid`.
    Invalidate,
    /// `iret`.
    Iret,
    /// `sysret`, `sysexit`.
    Sysret,
    /// `cpuid`, `serialize`.
    Serialize,
    /// `mov` to or from a debug register.
    Debug,
    /// `in`, `out`, `ins`, `outs`.
    Port,
    /// `swapgs`.
    Swapgs,
    /// `cli`, `sti`.
    InterruptFlag,
    /// `clac`, `stac`.
    AccessFlag,
    /// `xsetbv`, `xsaves`, `xrstors`.
    State,
    /// `vmrun`, `vmload`, `vmsave`, `stgi`, `clgi`.
    Svm,
    /// `hlt`, `invd`, `wbinvd`, `rsm`.
    Other,
    /// One round of a string instruction with a prefix: an ordinary instruction, counted here since QEMU executes each round of
    /// `rep movsb` as an instruction, and a CPU does not.
    Round,
}

/// Number of classes.
pub const CLASSES: usize = Class::Round as usize + 1;

/// The classes with the names under which a table shows them.
pub const NAMES: [(Class, &str); CLASSES] = [
    (Class::WriteCr3, "write CR3"),
    (Class::WriteCr4, "write CR4"),
    (Class::WriteCr, "write another CR"),
    (Class::ReadCr, "read a CR"),
    (Class::WriteMsr, "wrmsr"),
    (Class::ReadMsr, "rdmsr"),
    (Class::LoadTable, "lgdt, lidt, lldt, ltr"),
    (Class::Invalidate, "invlpg, invpcid"),
    (Class::Iret, "iret"),
    (Class::Sysret, "sysret"),
    (Class::Serialize, "cpuid, serialize"),
    (Class::Debug, "mov dr"),
    (Class::Port, "in, out"),
    (Class::Swapgs, "swapgs"),
    (Class::InterruptFlag, "cli, sti"),
    (Class::AccessFlag, "clac, stac"),
    (Class::State, "xsetbv, xsaves, xrstors"),
    (Class::Svm, "vmrun and its kind"),
    (Class::Other, "hlt, wbinvd"),
    (Class::Round, "rounds of rep"),
];

/// The class of an instruction of 64-bit code.
pub fn class(instruction: &[u8]) -> Option<Class> {
    let prefixes = instruction
        .iter()
        .take_while(|byte| {
            matches!(
                byte,
                0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
            )
        })
        .count();
    match *instruction.get(prefixes..)? {
        [0xa4..=0xa7 | 0xaa..=0xaf, ..]
            if instruction[..prefixes]
                .iter()
                .any(|byte| matches!(byte, 0xf2 | 0xf3)) =>
        {
            Some(Class::Round)
        }
        [0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef, ..] => Some(Class::Port),
        [0xcf, ..] => Some(Class::Iret),
        [0xf4, ..] => Some(Class::Other),
        [0xfa | 0xfb, ..] => Some(Class::InterruptFlag),
        [0x0f, opcode, ref rest @ ..] => two_bytes(opcode, rest),
        _ => None,
    }
}

/// The class of an instruction that begins with 0F.
fn two_bytes(opcode: u8, rest: &[u8]) -> Option<Class> {
    let modrm = rest.first().copied().unwrap_or(0);
    let register = modrm >> 3 & 7;
    let memory = modrm < 0xc0;
    match opcode {
        0x00 if matches!(register, 2 | 3) => Some(Class::LoadTable),
        0x01 => match (modrm, register) {
            (0xca | 0xcb, _) => Some(Class::AccessFlag),
            (0xd1, _) => Some(Class::State),
            (0xd8 | 0xda..=0xde, _) => Some(Class::Svm),
            (0xdf, _) => Some(Class::Invalidate),
            (0xe8, _) => Some(Class::Serialize),
            (0xf8, _) => Some(Class::Swapgs),
            (_, 6) => Some(Class::WriteCr),
            (_, 2 | 3) if memory => Some(Class::LoadTable),
            (_, 7) if memory => Some(Class::Invalidate),
            _ => None,
        },
        0x06 => Some(Class::WriteCr),
        0x07 | 0x35 => Some(Class::Sysret),
        0x08 | 0x09 | 0xaa => Some(Class::Other),
        0x20 => Some(Class::ReadCr),
        0x21 | 0x23 => Some(Class::Debug),
        0x22 => Some(match register {
            3 => Class::WriteCr3,
            4 => Class::WriteCr4,
            _ => Class::WriteCr,
        }),
        0x30 => Some(Class::WriteMsr),
        0x32 => Some(Class::ReadMsr),
        0x38 if modrm == 0x82 => Some(Class::Invalidate),
        0xa2 => Some(Class::Serialize),
        0xc7 if memory && matches!(register, 3 | 5) => Some(Class::State),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_classes() {
        for (i, (class, _)) in NAMES.iter().enumerate() {
            assert_eq!(*class as usize, i);
        }
    }

    #[test]
    fn privileged_and_serialising_instructions_are_known() {
        let known: [(&[u8], Class); 31] = [
            (&[0x0f, 0x22, 0xd8], Class::WriteCr3),       // mov %rax,%cr3
            (&[0x41, 0x0f, 0x22, 0xe1], Class::WriteCr4), // mov %r9,%cr4
            (&[0x0f, 0x22, 0xc0], Class::WriteCr),        // mov %rax,%cr0
            (&[0x44, 0x0f, 0x22, 0xc0], Class::WriteCr),  // mov %rax,%cr8
            (&[0x0f, 0x06], Class::WriteCr),              // clts
            (&[0x0f, 0x01, 0xf0], Class::WriteCr),        // lmsw %ax
            (&[0x0f, 0x20, 0xd0], Class::ReadCr),         // mov %cr2,%rax
            (&[0x0f, 0x30], Class::WriteMsr),
            (&[0x0f, 0x32], Class::ReadMsr),
            (&[0x0f, 0x01, 0x10], Class::LoadTable), // lgdt (%rax)
            (&[0x0f, 0x01, 0x1c, 0x24], Class::LoadTable), // lidt (%rsp)
            (&[0x0f, 0x00, 0xd8], Class::LoadTable), // ltr %ax
            (&[0x0f, 0x00, 0xd0], Class::LoadTable), // lldt %ax
            (&[0x0f, 0x01, 0x38], Class::Invalidate), // invlpg (%rax)
            (&[0x66, 0x0f, 0x38, 0x82, 0x06], Class::Invalidate), // invpcid (%rsi),%rax
            (&[0x48, 0xcf], Class::Iret),
            (&[0x48, 0x0f, 0x07], Class::Sysret),
            (&[0x0f, 0xa2], Class::Serialize),
            (&[0x0f, 0x23, 0xf8], Class::Debug), // mov %rax,%db7
            (&[0x0f, 0x21, 0xf0], Class::Debug), // mov %db6,%rax
            (&[0xee], Class::Port),
            (&[0xe4, 0x60], Class::Port),
            (&[0xf3, 0x6e], Class::Port), // rep outsb
            (&[0x0f, 0x01, 0xf8], Class::Swapgs),
            (&[0xfa], Class::InterruptFlag),
            (&[0x0f, 0x01, 0xcb], Class::AccessFlag), // stac
            (&[0x48, 0x0f, 0xc7, 0x2f], Class::State), // xsaves64 (%rdi)
            (&[0x0f, 0x01, 0xd8], Class::Svm),        // vmrun
            (&[0xf4], Class::Other),
            (&[0xf3, 0xa4], Class::Round),       // rep movsb
            (&[0xf3, 0x48, 0xab], Class::Round), // rep stosq
        ];
        for (bytes, want) in known {
            assert_eq!(class(bytes), Some(want), "{bytes:x?}");
        }
    }

    #[test]
    fn everything_else_is_ordinary() {
        let ordinary: [&[u8]; 15] = [
            &[0x90],
            &[0x0f, 0x05],             // syscall
            &[0xcd, 0x1f],             // int $0x1f
            &[0x0f, 0x01, 0xd9],       // vmmcall
            &[0x0f, 0x01, 0x00],       // sgdt (%rax)
            &[0x0f, 0x01, 0x08],       // sidt (%rax)
            &[0x0f, 0x00, 0xc8],       // str %ax
            &[0x0f, 0x01, 0xf9],       // rdtscp
            &[0x0f, 0x31],             // rdtsc
            &[0x48, 0x0f, 0xc7, 0x0f], // cmpxchg16b (%rdi)
            &[0x48, 0x0f, 0xae, 0x2f], // xrstor64 (%rdi)
            &[0xb8, 0x0f, 0x30, 0, 0], // mov $0x300f,%eax
            &[0x9d],                   // popf
            &[0xa4],                   // movsb
            &[0x0f, 0xc7, 0xf0],       // rdrand %eax
        ];
        for bytes in ordinary {
            assert_eq!(class(bytes), None, "{bytes:x?}");
        }
        assert_eq!(class(&[]), None);
        assert_eq!(class(&[0x48]), None);
        assert_eq!(class(&[0x0f]), None);
    }
}
