//! What is measured, and on which systems.

/// Who does the work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum System {
    /// Code whose number of instructions is known.
    Calibration,
    /// A process of the Host.
    Native,
    /// A Guest of this book.
    Lguest,
    /// The same without the defences against speculation.
    Undefended,
    /// A virtual machine under KVM that has tables of its own, and the CPU walks both kinds.
    KvmNested,
    /// A virtual machine under KVM whose tables are shadowed.
    KvmShadow,
    /// A process under User Mode Linux.
    Uml,
}

impl System {
    /// All of them, in the order of a table's columns.
    pub const ALL: [Self; 7] = [
        Self::Calibration,
        Self::Native,
        Self::Lguest,
        Self::Undefended,
        Self::KvmNested,
        Self::KvmShadow,
        Self::Uml,
    ];

    /// Its name on the command line and in files.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Calibration => "calibration",
            Self::Native => "native",
            Self::Lguest => "lguest",
            Self::Undefended => "lguest-mitigations-off",
            Self::KvmNested => "kvm-nested",
            Self::KvmShadow => "kvm-shadow",
            Self::Uml => "uml",
        }
    }

    /// The system of this name.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.key() == key)
    }

    /// The system of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|system| *system as u16 == number)
    }
}

/// Something that can be done a thousand times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Operation {
    /// [`LOOP`] instructions in a loop.
    Loop,
    /// [`COPIED`] bytes by one instruction with a prefix.
    Copy,
    /// A system call that does nothing, from a program and back to it.
    SystemCall,
    /// First touch of a page that the kernel above the program, a guest's or the Host's, has promised and not given.
    DemandFault,
    /// The same for a program: its guest's kernel is asked.
    ProgramFault,
    /// The same where the guest's kernel has promised to announce what it maps, and does.
    AnnouncedFault,
    /// A program touches a page that it does not get: its kernel skips the instruction.
    OwnFault,
    /// The same where the guest's kernel has promised to announce what it maps.
    QuietFault,
    /// A call of the hypervisor that does nothing.
    Hypercall,
    /// `mov %cr3`.
    ReadCr3,
    /// `cpuid`.
    Cpuid,
    /// `rdmsr`.
    ReadMsr,
    /// `swapgs`, or what a guest's kernel has in its place.
    SwapGs,
    /// An invalid instruction, to its handler and behind the instruction.
    Trap,
    /// The same where the handler asks for no help.
    StraightTrap,
    /// First touch of a page that the guest's tables have and nobody else's yet.
    Fill,
    /// The same for a frame that the hypervisor knows already: its entry was forgotten.
    Refill,
    /// 64 new pages in sequence.
    FillSequence,
    /// One changed entry of a page table is announced.
    SetPte,
    /// `invlpg`.
    Invlpg,
    /// The same, then 8 pages are read.
    InvlpgRead,
    /// Everything below the kernel is forgotten.
    FlushUser,
    /// The same, then 8 pages are read.
    FlushUserRead,
    /// CR3 is loaded with what it held.
    WriteCr3,
    /// The same, then 8 pages are read.
    WriteCr3Read,
    /// A timer's interrupt, its handler, and setting it again.
    Timer,
    /// A byte to the program below, which writes it to a file.
    Byte,
    /// 4096 bytes.
    Page,
}

/// Instructions of [`Operation::Loop`].
pub const LOOP: u64 = 2001;
/// Bytes of [`Operation::Copy`].
pub const COPIED: u64 = 4096;
/// How often everything is done.
pub const TIMES: u64 = 1000;

impl Operation {
    /// All of them, in the order of a table's rows.
    pub const ALL: [Self; 28] = [
        Self::Loop,
        Self::Copy,
        Self::SystemCall,
        Self::DemandFault,
        Self::ProgramFault,
        Self::AnnouncedFault,
        Self::OwnFault,
        Self::QuietFault,
        Self::Hypercall,
        Self::ReadCr3,
        Self::Cpuid,
        Self::ReadMsr,
        Self::SwapGs,
        Self::Trap,
        Self::StraightTrap,
        Self::Fill,
        Self::Refill,
        Self::FillSequence,
        Self::SetPte,
        Self::Invlpg,
        Self::InvlpgRead,
        Self::FlushUser,
        Self::FlushUserRead,
        Self::WriteCr3,
        Self::WriteCr3Read,
        Self::Timer,
        Self::Byte,
        Self::Page,
    ];

    /// Its name in files.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Loop => "loop",
            Self::Copy => "copy",
            Self::SystemCall => "system-call",
            Self::DemandFault => "demand-fault",
            Self::ProgramFault => "program-fault",
            Self::AnnouncedFault => "announced-fault",
            Self::OwnFault => "own-fault",
            Self::QuietFault => "quiet-fault",
            Self::Hypercall => "hypercall",
            Self::ReadCr3 => "read-cr3",
            Self::Cpuid => "cpuid",
            Self::ReadMsr => "read-msr",
            Self::SwapGs => "swap-gs",
            Self::Trap => "trap",
            Self::StraightTrap => "straight-trap",
            Self::Fill => "fill",
            Self::Refill => "refill",
            Self::FillSequence => "fill-64",
            Self::SetPte => "set-pte",
            Self::Invlpg => "invlpg",
            Self::InvlpgRead => "invlpg-read",
            Self::FlushUser => "flush-user",
            Self::FlushUserRead => "flush-user-read",
            Self::WriteCr3 => "write-cr3",
            Self::WriteCr3Read => "write-cr3-read",
            Self::Timer => "timer",
            Self::Byte => "byte-out",
            Self::Page => "page-out",
        }
    }

    /// Its name in a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Loop => "a loop of 2,001 instructions",
            Self::Copy => "`rep movsb` of 4,096 bytes",
            Self::SystemCall => "system call and back",
            Self::DemandFault => "demand fault, whole",
            Self::ProgramFault => "a program's demand fault",
            Self::AnnouncedFault => "a program's demand fault, promised",
            Self::OwnFault => "a program's own fault",
            Self::QuietFault => "a program's own fault, promised",
            Self::Hypercall => "hypercall and back",
            Self::ReadCr3 => "read CR3",
            Self::Cpuid => "CPUID",
            Self::ReadMsr => "read an MSR",
            Self::SwapGs => "swap the bases of GS",
            Self::Trap => "trap, handler and back",
            Self::StraightTrap => "straight trap and back",
            Self::Fill => "shadow fill",
            Self::Refill => "shadow fill of a known frame",
            Self::FillSequence => "64 fills in sequence",
            Self::SetPte => "SET_PTE",
            Self::Invlpg => "`invlpg`",
            Self::InvlpgRead => "`invlpg`, read 8 pages",
            Self::FlushUser => "flush user",
            Self::FlushUserRead => "flush user, read 8 pages",
            Self::WriteCr3 => "load CR3",
            Self::WriteCr3Read => "load CR3, read 8 pages",
            Self::Timer => "timer: interrupt, handler, set again",
            Self::Byte => "1 byte to a file",
            Self::Page => "4 KiB to a file",
        }
    }

    /// The operation of this name.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.key() == key)
    }

    /// The operation of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| *operation as u16 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_names() {
        for (i, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, i);
            assert_eq!(Operation::from_key(operation.key()), Some(operation));
            assert_eq!(Operation::from_number(i as u16), Some(operation));
        }
        assert_eq!(Operation::from_number(99), None);
    }

    #[test]
    fn every_system_is_found_by_its_names() {
        for (i, system) in System::ALL.into_iter().enumerate() {
            assert_eq!(system as usize, i);
            assert_eq!(System::from_key(system.key()), Some(system));
            assert_eq!(System::from_number(i as u16), Some(system));
        }
    }
}
