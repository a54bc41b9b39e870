// SPDX-License-Identifier: GPL-2.0

//! A decoder for the few privileged instructions that a kernel cannot help using.
//!
//! It sees bytes and says what they mean; what to do about it is decided in `emulate.rs`. Bytes that
//! it does not know are not an error here, only not ours.

/// A privileged instruction.
#[derive(Debug, PartialEq)]
pub(crate) enum Insn {
    /// IN to a register of this many bytes.
    In(u32),
    /// OUT.
    Out,
    /// CLI.
    Cli,
    /// STI.
    Sti,
    /// HLT.
    Hlt,
    /// SWAPGS.
    Swapgs,
    /// INVLPG of some address.
    Invlpg,
    /// MOV to a general register from a control register.
    ReadControl { control: u8, register: u8 },
    /// MOV to a control register.
    WriteControl { control: u8, register: u8 },
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
}

/// The instruction at the start of `bytes` and its length, if it is one of ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Insn, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let mut rex = 0;
    let mut operand_16 = false;
    let opcode = loop {
        match reader.byte()? {
            0x66 => operand_16 = true,
            prefix @ 0x40..=0x4f => {
                rex = prefix;
                break reader.byte()?;
            }
            opcode => break opcode,
        }
    };
    let word = if operand_16 { 2 } else { 4 };
    let insn = match opcode {
        0xe4 => reader.skip(1, Insn::In(1))?,
        0xe5 => reader.skip(1, Insn::In(word))?,
        0xe6 | 0xe7 => reader.skip(1, Insn::Out)?,
        0xec => Insn::In(1),
        0xed => Insn::In(word),
        0xee | 0xef => Insn::Out,
        0xf4 => Insn::Hlt,
        0xfa => Insn::Cli,
        0xfb => Insn::Sti,
        0x0f => reader.two_byte(rex)?,
        _ => return None,
    };
    Some((insn, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, count: usize, insn: Insn) -> Option<Insn> {
        for _ in 0..count {
            self.byte()?;
        }
        Some(insn)
    }

    /// What follows an 0F.
    fn two_byte(&mut self, rex: u8) -> Option<Insn> {
        match self.byte()? {
            0x01 => match self.byte()? {
                0xf8 => Some(Insn::Swapgs),
                modrm if modrm >> 3 & 7 == 7 && modrm >> 6 != 3 => {
                    let length = self.address_length(modrm)?;
                    self.skip(length, Insn::Invlpg)
                }
                _ => None,
            },
            opcode @ (0x20 | 0x22) => {
                let modrm = self.byte()?;
                let control = modrm >> 3 & 7 | (rex & 4) << 1;
                let register = modrm & 7 | (rex & 1) << 3;
                Some(match opcode {
                    0x20 => Insn::ReadControl { control, register },
                    _ => Insn::WriteControl { control, register },
                })
            }
            0x30 => Some(Insn::WriteMsr),
            0x32 => Some(Insn::ReadMsr),
            _ => None,
        }
    }

    /// Bytes of SIB and displacement after a ModRM that names memory (SDM vol. 2, table 2-2).
    fn address_length(&self, modrm: u8) -> Option<usize> {
        let (mode, base) = (modrm >> 6, modrm & 7);
        let sib = usize::from(base == 4);
        let sib_base = match sib {
            1 => *self.bytes.get(self.at)? & 7,
            _ => base,
        };
        Some(
            sib + match mode {
                0 if base == 5 || (sib == 1 && sib_base == 5) => 4,
                0 => 0,
                1 => 1,
                _ => 4,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Insn) {
        assert_eq!(decode(bytes), Some((expected, bytes.len())), "{bytes:02x?}");
        let mut longer = bytes.to_vec();
        longer.push(0x90);
        assert_eq!(decode(&longer).map(|found| found.1), Some(bytes.len()));
        assert_eq!(
            decode(&bytes[..bytes.len() - 1]),
            None,
            "cut short: {bytes:02x?}"
        );
    }

    #[test]
    fn port_instructions_know_their_width() {
        check(&[0xe4, 0x60], Insn::In(1));
        check(&[0xed], Insn::In(4));
        check(&[0x66, 0xed], Insn::In(2));
        check(&[0xe7, 0x80], Insn::Out);
        check(&[0xee], Insn::Out);
    }

    #[test]
    fn control_registers_and_their_partners_are_found_with_and_without_rex() {
        check(
            &[0x0f, 0x20, 0xd8],
            Insn::ReadControl {
                control: 3,
                register: 0,
            },
        );
        check(
            &[0x41, 0x0f, 0x22, 0xdf],
            Insn::WriteControl {
                control: 3,
                register: 15,
            },
        );
        check(
            &[0x44, 0x0f, 0x20, 0xc1],
            Insn::ReadControl {
                control: 8,
                register: 1,
            },
        );
    }

    #[test]
    fn invlpg_is_as_long_as_its_address() {
        check(&[0x0f, 0x01, 0x38], Insn::Invlpg); // (%rax)
        check(&[0x0f, 0x01, 0x78, 8], Insn::Invlpg); // 8(%rax)
        check(&[0x0f, 0x01, 0xb8, 0, 1, 0, 0], Insn::Invlpg); // 256(%rax)
        check(&[0x0f, 0x01, 0x3d, 0, 0, 0, 0], Insn::Invlpg); // 0(%rip)
        check(&[0x0f, 0x01, 0x3c, 0x24], Insn::Invlpg); // (%rsp)
        check(&[0x0f, 0x01, 0x3c, 0x25, 0, 0, 0, 0], Insn::Invlpg); // absolute
        check(&[0x0f, 0x01, 0x7c, 0x24, 8], Insn::Invlpg); // 8(%rsp)
    }

    #[test]
    fn the_rest_of_the_few() {
        check(&[0xfa], Insn::Cli);
        check(&[0xfb], Insn::Sti);
        check(&[0xf4], Insn::Hlt);
        check(&[0x0f, 0x01, 0xf8], Insn::Swapgs);
        check(&[0x0f, 0x30], Insn::WriteMsr);
        check(&[0x0f, 0x32], Insn::ReadMsr);
    }

    #[test]
    fn lgdt_and_everything_else_is_not_ours() {
        for bytes in [
            &[0x0f, 0x01, 0x10][..],
            &[0x0f, 0x01, 0xd1],
            &[0x90],
            &[0xf3, 0xfa],
            &[],
        ] {
            assert_eq!(decode(bytes), None);
        }
    }
}
