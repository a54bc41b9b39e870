// SPDX-License-Identifier: GPL-2.0

//! The console: whole lines go out, single keys come in.

use core::fmt::{self, Write};

use crate::abi::device::{ACKNOWLEDGE, CONSOLE_KEY, DRIVER, DRIVER_OK, FAILED};
use crate::abi::{DMA_SECTIONS, LguestDma};
use crate::bus::Device;
use crate::hypercall;
use crate::layout::Phys;
use crate::lone::Lone;
use crate::noirq::wait_for_interrupt;

/// Bytes that are sent or received at a time.
const SIZE: usize = 1024;

/// Everything that the Launcher and the Host access, in one page, so that no section can cross a border.
#[repr(C, align(4096))]
struct Buffers {
    output: [u8; SIZE],
    input: [u8; SIZE],
    send: LguestDma,
    receive: LguestDma,
}

/// The console's state.
pub struct Console {
    buffers: Buffers,
    /// Bytes of output that have not been sent yet.
    filled: usize,
    /// Bytes of input that have been used already.
    taken: usize,
    attached: bool,
}

const NO_DMA: LguestDma = LguestDma {
    used_len: 0,
    reserved: 0,
    addr: [0; DMA_SECTIONS],
    len: [0; DMA_SECTIONS],
};

static CONSOLE: Lone<Console> = Lone::new(Console {
    buffers: Buffers {
        output: [0; SIZE],
        input: [0; SIZE],
        send: NO_DMA,
        receive: NO_DMA,
    },
    filled: 0,
    taken: 0,
    attached: false,
});

/// Starts using the console. What was printed until now has waited for this.
pub fn attach(device: Device) {
    device.set_status(ACKNOWLEDGE | DRIVER);
    let bound = CONSOLE.with(|console| console.bind(device.irq));
    device.set_status(if bound {
        ACKNOWLEDGE | DRIVER | DRIVER_OK
    } else {
        ACKNOWLEDGE | FAILED
    });
}

/// Prints one byte.
pub fn put(byte: u8) {
    CONSOLE.with(|console| console.put(byte));
}

/// Prints formatted text; see `print!` and `println!`.
pub fn print(text: fmt::Arguments) {
    // The console itself never fails.
    let _ = CONSOLE.with(|console| console.write_fmt(text));
}

/// Sends what does not end in a newline, as prompts do not.
pub fn flush() {
    CONSOLE.with(Console::flush);
}

/// Waits for a key.
pub fn key() -> u8 {
    loop {
        if let Some(key) = CONSOLE.with(Console::next_key) {
            return key;
        }
        flush();
        wait_for_interrupt();
    }
}

impl Console {
    /// Offers the input buffer.
    fn bind(&mut self, irq: u64) -> bool {
        self.buffers.send.addr[0] = Phys::of(&raw const self.buffers.output).0;
        self.buffers.receive.addr[0] = Phys::of(&raw const self.buffers.input).0;
        self.buffers.receive.len[0] = SIZE as u16;
        // SAFETY: list and buffer are in a static; from now on both are accessed as if others did so too.
        self.attached = unsafe { hypercall::bind_dma(CONSOLE_KEY, &raw const self.buffers.receive, irq) };
        self.attached
    }

    fn put(&mut self, byte: u8) {
        self.buffers.output[self.filled] = byte;
        self.filled += 1;
        if byte == b'\n' || self.filled == SIZE {
            self.flush();
        }
    }

    /// Sends what there is.
    fn flush(&mut self) {
        if self.filled == 0 || !self.attached {
            self.filled %= SIZE;
            return;
        }
        self.buffers.send.used_len = 0;
        self.buffers.send.len[0] = self.filled as u16;
        // SAFETY: by pointer only; the next access to the list comes after the Launcher is done.
        unsafe { hypercall::send_dma(CONSOLE_KEY, &raw const self.buffers.send) };
        self.filled = 0;
    }

    /// The next byte of input, if there is one. The last one frees the buffer.
    fn next_key(&mut self) -> Option<u8> {
        let used_len = &raw mut self.buffers.receive.used_len;
        // SAFETY: a field of ours. The Host writes it at any time, hence volatile.
        let received = unsafe { used_len.read_volatile() } as usize;
        if received == 0 {
            return None;
        }
        // SAFETY: as above; the Launcher has written the byte before `used_len`.
        let key = unsafe { (&raw const self.buffers.input[self.taken]).read_volatile() };
        self.taken += 1;
        if self.taken >= received.min(SIZE) {
            self.taken = 0;
            // SAFETY: as above. From here on the buffer belongs to the Launcher again.
            unsafe { used_len.write_volatile(0) };
        }
        Some(key)
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::console::print(format_args!($($text)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($text:tt)*) => { $crate::print!("{}\n", format_args!($($text)*)) };
}
