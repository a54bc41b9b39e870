//! The Launcher, as a process: kernels that send its devices what chance says, and files that are hardly kernels.

use super::dice::Dice;
use super::program::{PERFORM, Program, piece};
use super::{ended, is_alone};
use crate::abi::{dma, hc};
use crate::blobs::kit;
use crate::harness::{Outcome, check, same};
use crate::kernel_file::Kernel;
use crate::layout::*;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Memory of its guest, behind which devices have their pages.
const SIZE: u64 = 4 << 20;
const PAGES: u64 = SIZE + PAGE;
/// Devices that have a page: two disks and a network card.
const DEVICES: u64 = 3;
/// A disk's ring: its registers in the page, and its parts in free memory.
const REGISTERS: u64 = 64;
const DESCRIPTORS: u64 = FREE + 0x8000;
const AVAILABLE: u64 = FREE + 0x9000;
const USED: u64 = FREE + 0xa000;
const HEADERS: u64 = FREE + 0xb000;
const SECTORS: u64 = 16;

/// Where this process keeps its files.
fn place() -> Outcome<PathBuf> {
    let place = std::env::temp_dir().join(format!("fuzz-{}", std::process::id()));
    fs::create_dir_all(&place).map_err(|e| format!("{place:?}: {e}"))?;
    Ok(place)
}

/// An address in a device's page, of a ring, or of any memory.
fn address(dice: &mut Dice) -> u64 {
    match dice.below(12) {
        0 => dice.nasty(),
        1 => PAGES + PAGE * DEVICES - dice.below(1024),
        2 | 3 => PAGES + PAGE * dice.below(DEVICES) + 8 * dice.below(16),
        4 => DESCRIPTORS + dice.below(0x3000),
        _ => piece(dice).0,
    }
}

/// A list in memory, by stores.
fn list(program: &mut Program, dice: &mut Dice, at: u64) {
    program.store(va(at), 0);
    let pieces = 1 + dice.below(3);
    let mut lens = 0;
    for n in 0..pieces {
        let (address, len) = piece(dice);
        program.store(va(at + dma::ADDR + 8 * n), address);
        lens |= u64::from(len) << (16 * n);
    }
    program.store(va(at + dma::LEN), lens);
}

/// A request to a disk by its page.
fn by_the_page(program: &mut Program, dice: &mut Dice) {
    let disk = PAGES + PAGE * dice.below(DEVICES);
    let bytes = dice.pick(&[0, 512, 512, 1024, 4096, 100, 0xffff_ffff]);
    program.store(va(disk), dice.below(5) | bytes << 32);
    let sector = dice.below(SECTORS + 2);
    program.store(va(disk + 8), dice.mostly(sector, 8));
    list(program, dice, DMA);
    program.call([hc::SEND_DMA, disk, DMA, 0]);
}

/// A request by its ring: registers, descriptors and counts.
fn by_the_ring(program: &mut Program, dice: &mut Dice) {
    let disk = PAGES + PAGE * dice.below(2);
    let registers = disk + REGISTERS;
    let wrong = if dice.one_in(3) { 6 } else { 1 << 40 };
    for (n, word) in [DESCRIPTORS, AVAILABLE, USED, 64 | 2 << 32]
        .into_iter()
        .enumerate()
    {
        program.store(va(registers + 8 * n as u64), dice.mostly(word, wrong));
    }
    for n in 0..6 {
        let header = HEADERS + 16 * n;
        program.store(va(header), dice.below(5));
        let sector = dice.below(SECTORS + 2);
        program.store(va(header + 8), dice.mostly(sector, 8));
        // Header, data, answer: and now and then none of these.
        let good = match n % 3 {
            0 => (header, 16 | 1 << 32),
            1 => (piece(dice).0 & !0xfff, 512 | dice.pick(&[1, 3]) << 32),
            _ => (HEADERS + 0x800 + n, 1 | 2 << 32),
        };
        let (at, word) = match dice.below(8) {
            0 => (address(dice), dice.below(4097) | dice.below(8) << 32),
            1 => (address(dice), dice.word() & 0xffff_ffff_ffff),
            _ => good,
        };
        let next = if dice.one_in(8) {
            dice.below(70)
        } else {
            n + 1
        };
        program.store(va(DESCRIPTORS + 16 * n), at);
        program.store(va(DESCRIPTORS + 16 * n + 8), word | next << 48);
    }
    let heads = if dice.one_in(4) {
        dice.word() & 0x001f_001f_0000_0000
    } else {
        3 << 48
    };
    let count = if dice.one_in(8) {
        dice.below(1 << 16)
    } else {
        1 + dice.below(2)
    };
    program.store(va(AVAILABLE), heads | count << 16);
    program.call([hc::NOTIFY, registers, 0, 0]);
}

/// Anything else that a device could be told.
fn whatever(program: &mut Program, dice: &mut Dice) {
    match dice.below(6) {
        0 => program.store(va(address(dice)), dice.nasty()),
        1 => {
            // The console prints it.
            list(program, dice, DMA);
            program.call([hc::SEND_DMA, 0, DMA, 0]);
        }
        2 => {
            list(program, dice, DMA);
            let key = PAGES + PAGE * dice.below(DEVICES) + 4 * dice.below(8);
            program.call([hc::SEND_DMA, key, DMA, 0]);
        }
        3 => {
            let key = dice.pick(&[
                0,
                PAGES,
                PAGES + PAGE,
                PAGES + 2 * PAGE,
                PAGES + 2 * PAGE + 4,
            ]);
            list(program, dice, DMA + 2 * dma::SIZE);
            program.call([
                hc::BIND_DMA,
                key,
                DMA + 2 * dma::SIZE,
                1 << 8 | dice.below(10),
            ]);
        }
        4 => program.call([hc::NOTIFY, address(dice), 0, 0]),
        _ => program.store(va(SIZE + 8 * dice.below(16)), dice.nasty()),
    }
}

fn kernel(dice: &mut Dice) -> Kernel {
    let mut program = Program::default();
    for _ in 0..1 + dice.below(8) {
        match dice.below(5) {
            0 | 1 => by_the_page(&mut program, dice),
            2 | 3 => by_the_ring(&mut program, dice),
            _ => whatever(&mut program, dice),
        }
    }
    let mut kernel = Kernel::new(0);
    for vector in 0..64 {
        let kind = if vector < 32 { 0xf } else { 0xe };
        let (low, high) = crate::guest::gate(kit::stub(vector), kind, 0);
        kernel.call([hc::LOAD_IDT_ENTRY, vector, low, high]);
    }
    kernel.put(BODY, PERFORM.bytes());
    program.put_into(|at, word| kernel.put(at, &word.to_ne_bytes()));
    kernel
}

/// Bytes of a file are changed, or it ends early.
fn damage(dice: &mut Dice, image: &Path) -> Outcome {
    let mut bytes = fs::read(image).map_err(|e| e.to_string())?;
    for _ in 0..1 + dice.below(6) {
        // Most of what is believed stands at the beginning.
        let until = dice.pick(&[0x78, 0x78, 0x78, bytes.len() as u64]);
        let at = dice.below(until) as usize;
        match dice.below(3) {
            0 => bytes[at] = dice.word() as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            _ => {
                let word = dice.nasty().to_le_bytes();
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
        }
    }
    if dice.one_in(4) {
        bytes.truncate(dice.below(bytes.len() as u64) as usize);
    }
    fs::write(image, bytes).map_err(|e| e.to_string())
}

pub fn round(dice: &mut Dice) -> Outcome {
    let place = place()?;
    let done = boot(dice, &place);
    let _ = fs::remove_dir_all(&place);
    done
}

fn boot(dice: &mut Dice, place: &Path) -> Outcome {
    let [disk, fixed, cable, image] =
        ["disk", "fixed", "cable", "kernel"].map(|name| place.join(name));
    let content: Vec<u8> = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
    for file in [&disk, &fixed] {
        fs::write(file, &content).map_err(|e| e.to_string())?;
    }
    kernel(dice).save(&image)?;
    if dice.one_in(4) {
        damage(dice, &image)?;
    }
    let said = File::create(place.join("said")).map_err(|e| e.to_string())?;
    let mut command = Command::new("lguest");
    command.args(["run", "-m", "4M", "--block"]).arg(&disk);
    command
        .arg("--block-ro")
        .arg(&fixed)
        .arg("--sharenet")
        .arg(&cable)
        .arg(&image);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    let launcher = command.spawn().map_err(|e| format!("lguest: {e}"))?;
    let status = ended(Pid::from_raw(launcher.id() as i32))?;
    let mut said = String::new();
    let file = File::open(place.join("said"));
    let read = file.and_then(|file| file.take(1 << 16).read_to_string(&mut said));
    check!(read.is_ok(), "the Launcher said what is no text: {read:?}");
    if is_alone() {
        println!("{status:?}; {said}");
    }
    check!(
        matches!(status, WaitStatus::Exited(..)),
        "the Launcher ended so: {status:?}; it said {said}"
    );
    check!(!said.contains("panicked"), "the Launcher said {said}");
    let left = fs::read(&fixed).map_err(|e| e.to_string())?;
    check!(left == content, "a disk that is only read was written to");
    let len = fs::metadata(&disk).map_err(|e| e.to_string())?.len();
    same("the length of the disk", len, SECTORS * 512)
}
