//! A kernel of the tests' own as a file, for a system's Launcher to boot: what its devices do with a Guest that sends what it likes.

use crate::abi::hc;
use crate::blobs::{blob, kit};
use crate::harness::Outcome;
use crate::layout::*;
use std::fs;
use std::path::Path;

blob! {
    /// Powers off with the byte at the physical address in parameter 0.
    TELL_BYTE = "mov rbx, [r15 + PARAM]",
        "movzx edx, byte ptr [r15 + rbx]",
        "mov eax, 11",
        "int 0x1f",
        "ud2";
}

/// A kernel of the tests' own: it makes hypercalls, then tells one byte of its memory by its exit status.
pub struct Kernel {
    /// All of its memory, from 0.
    memory: Vec<u8>,
    /// How many calls it makes.
    calls: u64,
}

impl Kernel {
    /// Where its ELF file begins in memory, and where it ends.
    pub const START: u64 = 2 * PAGE;
    pub const END: u64 = FREE + 0x10_000;

    /// One that tells the byte at this physical address.
    pub fn new(tell: u64) -> Self {
        let mut kernel = Self {
            memory: vec![0; Self::END as usize],
            calls: 0,
        };
        kernel.put(KIT, kit::CODE.bytes());
        kernel.put(BODY, TELL_BYTE.bytes());
        kernel.put(PARAM, &tell.to_ne_bytes());
        kernel.call([hc::LGUEST_INIT, DATA, 0, 0]);
        kernel
    }

    /// Puts bytes into its memory.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Lets it make one hypercall more.
    pub fn call(&mut self, call: [u64; 4]) {
        for (n, word) in (0..).zip(call) {
            self.put(SCRIPT + 32 * self.calls + 8 * n, &word.to_ne_bytes());
        }
        self.calls += 1;
        self.put(SCRIPT_LEN, &self.calls.to_ne_bytes());
    }

    /// A list of these sections, at DMA + 168 * number; where it is.
    pub fn list(&mut self, number: u64, sections: &[(u64, u16)]) -> u64 {
        let at = DMA + 168 * number;
        // Told, by a wrong number, that something was taken already.
        self.put(at, &0x7171_7171u32.to_ne_bytes());
        for (n, (address, len)) in (0..).zip(sections) {
            self.put(at + 8 + 8 * n, &address.to_ne_bytes());
            self.put(at + 136 + 2 * n, &len.to_ne_bytes());
        }
        at
    }

    /// Writes it as an ELF file.
    pub fn save(&self, path: &Path) -> Outcome {
        let contents = &self.memory[Self::START as usize..];
        let mut file = Vec::new();
        file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        for word in [va(KIT), 64, 0] {
            file.extend(word.to_ne_bytes());
        }
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
        let len = contents.len() as u64;
        for word in [PAGE, va(Self::START), Self::START, len, len, PAGE] {
            file.extend(word.to_ne_bytes());
        }
        file.resize(PAGE as usize, 0);
        file.extend(contents);
        let directory = path.parent().map(fs::create_dir_all);
        directory.transpose().map_err(|error| error.to_string())?;
        fs::write(path, file).map_err(|error| format!("writing {}: {error}", path.display()))
    }
}
