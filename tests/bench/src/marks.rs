//! Instructions that mean something to the plugin and nothing to the CPU.

/// The first bytes of a mark: `nopl disp32(%rax,%rax,1)`, which computes an address and forgets it.
pub const OPCODE: [u8; 4] = [0x0f, 0x1f, 0x84, 0x00];
/// The upper half of its displacement, which no compiler pads with.
pub const SIGNATURE: u32 = 0x4c47_0000;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// An operation begins.
    Begin(u16),
    /// It has ended.
    End(u16),
    /// What is executed from here on belongs to this system.
    System(u16),
    /// Four bits of a number, the highest first.
    Digit(u16),
    /// The number is the address at which the next range begins or, the second time, ends.
    Bound,
}

impl Mark {
    /// The lower half of the displacement.
    pub const fn code(self) -> u16 {
        match self {
            Self::Begin(operation) => 0x1000 | operation,
            Self::End(operation) => 0x2000 | operation,
            Self::System(system) => 0x3000 | system,
            Self::Digit(digit) => 0x4000 | digit,
            Self::Bound => 0x5000,
        }
    }

    /// The mark of this code.
    pub const fn from_code(code: u16) -> Option<Self> {
        let value = code & 0xfff;
        match code >> 12 {
            1 => Some(Self::Begin(value)),
            2 => Some(Self::End(value)),
            3 => Some(Self::System(value)),
            4 if value < 16 => Some(Self::Digit(value)),
            5 if value == 0 => Some(Self::Bound),
            _ => None,
        }
    }

    /// The mark that this instruction is.
    pub fn of(instruction: &[u8]) -> Option<Self> {
        let displacement = instruction.strip_prefix(&OPCODE)?;
        let displacement = u32::from_le_bytes(displacement.try_into().ok()?);
        if displacement & 0xffff_0000 == SIGNATURE {
            Self::from_code(displacement as u16)
        } else {
            None
        }
    }

    /// The displacement of this mark, for an assembler.
    pub const fn displacement(self) -> u32 {
        SIGNATURE | self.code() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(displacement: u32) -> Vec<u8> {
        [&OPCODE[..], &displacement.to_le_bytes()].concat()
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for mark in [
            Mark::Begin(0),
            Mark::Begin(17),
            Mark::End(0xfff),
            Mark::System(3),
            Mark::Digit(15),
            Mark::Bound,
        ] {
            assert_eq!(Mark::of(&instruction(mark.displacement())), Some(mark));
        }
    }

    #[test]
    fn the_padding_of_a_compiler_is_no_mark() {
        assert_eq!(Mark::of(&instruction(0)), None);
        assert_eq!(Mark::of(&instruction(0x1000)), None);
        assert_eq!(Mark::of(&instruction(SIGNATURE | 0x6000)), None);
        assert_eq!(Mark::of(&instruction(SIGNATURE | 0x4010)), None);
        assert_eq!(Mark::of(&OPCODE), None);
        assert_eq!(Mark::of(&[0x90]), None);
    }
}
