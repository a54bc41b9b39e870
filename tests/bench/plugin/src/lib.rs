//! QEMU loads this into itself and calls it for every piece of code that it translates and then, since it asks for that, before
//! every instruction that is executed. When QEMU ends it writes what [`Meter`] has to tell into the file of its argument
//! `out=FILE`. It counts for one emulated CPU.
//!
//! With `where=OPERATION` it also notes the address of each instruction of that operation, for the file of `addresses=FILE`. With
//! `between=ADDRESS:ADDRESS` it measures a program that has no marks: what is executed from the first address until the second
//! is told as the operation [`UNMARKED`], whose name is `between` in `where=between`.

mod qemu;

use qemu::{Id, Info, Instruction, Translated};
use ruler::marks::Mark;
use ruler::meter::{Meter, Reading};
use ruler::operations::Operation;
use ruler::privileged::{CLASSES, class};
use ruler::profile::Profile;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

static INSTRUCTIONS: AtomicU64 = AtomicU64::new(0);
static PRIVILEGED: [AtomicU64; CLASSES] = [const { AtomicU64::new(0) }; CLASSES];
static METER: LazyLock<Mutex<Meter>> = LazyLock::new(Mutex::default);
static OUT: OnceLock<String> = OnceLock::new();
/// Where an operation begins and ends without a mark, if there is one.
static BETWEEN: OnceLock<(u64, u64)> = OnceLock::new();
/// Its number.
const UNMARKED: u16 = 0xfff;
/// Where the addresses go, if they are wanted; whether they are wanted now.
static ADDRESSES: OnceLock<String> = OnceLock::new();
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// One CPU executes, so nobody adds at the same time.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

fn with_meter<T>(work: impl FnOnce(&mut Meter) -> T) -> T {
    work(&mut METER.lock().unwrap_or_else(PoisonError::into_inner))
}

extern "C" fn executed(_cpu: c_uint, _data: *mut c_void) {
    count(&INSTRUCTIONS);
}

extern "C" fn executed_privileged(_cpu: c_uint, class: *mut c_void) {
    count(&INSTRUCTIONS);
    count(&PRIVILEGED[class as usize]);
}

extern "C" fn executed_mark(_cpu: c_uint, code: *mut c_void) {
    let now = Reading {
        instructions: INSTRUCTIONS.load(Relaxed),
        privileged: PRIVILEGED.each_ref().map(|counter| counter.load(Relaxed)),
    };
    if let Some(mark) = Mark::from_code(code as usize as u16) {
        with_meter(|meter| {
            meter.meet(mark, &now);
            FOLLOWS.store(
                meter.profile.as_ref().is_some_and(Profile::is_open),
                Relaxed,
            );
        });
    }
}

extern "C" fn executed_at(_cpu: c_uint, address: *mut c_void) {
    if FOLLOWS.load(Relaxed) {
        with_meter(|meter| {
            if let Some(profile) = &mut meter.profile {
                profile.executed(address as u64);
            }
        });
    }
}

extern "C" fn executed_emulator(_cpu: c_uint, first: *mut c_void) {
    with_meter(|meter| meter.emulator(!first.is_null(), INSTRUCTIONS.load(Relaxed)));
}

extern "C" fn translated(_id: Id, code: *mut Translated) {
    // SAFETY: QEMU lends it to us for this call.
    for instruction in unsafe { qemu::instructions(code) } {
        instrument(&instruction);
    }
}

fn instrument(instruction: &Instruction) {
    let bytes = instruction.bytes();
    // A mark is not counted.
    if let Some(mark) = Mark::of(&bytes) {
        instruction.on_execution(executed_mark, usize::from(mark.code()));
        return;
    }
    if let Some((begin, end)) = BETWEEN.get() {
        let at = instruction.address();
        for (mark, place) in [(Mark::End(UNMARKED), end), (Mark::Begin(UNMARKED), begin)] {
            if at == *place {
                instruction.on_execution(executed_mark, usize::from(mark.code()));
            }
        }
    }
    if let Some(first) = with_meter(|meter| meter.emulates(instruction.address())) {
        instruction.on_execution(executed_emulator, usize::from(first));
    }
    let class = class(&bytes);
    if ADDRESSES.get().is_some() {
        with_meter(|meter| {
            if let Some(profile) = &mut meter.profile {
                profile.translated(instruction.address(), class);
            }
        });
        instruction.on_execution(executed_at, instruction.address() as usize);
    }
    match class {
        Some(class) => instruction.on_execution(executed_privileged, class as usize),
        None => instruction.on_execution(executed, 0),
    }
}

extern "C" fn ended(_id: Id, _data: *mut c_void) {
    let Some(out) = OUT.get() else { return };
    if let Err(e) = with_meter(|meter| std::fs::write(out, meter.lines())) {
        eprintln!("ruler: {out}: {e}");
    }
    if let Some(addresses) = ADDRESSES.get() {
        let lines = with_meter(|meter| meter.profile.as_ref().map(Profile::lines));
        if let Err(e) = std::fs::write(addresses, lines.unwrap_or_default()) {
            eprintln!("ruler: {addresses}: {e}");
        }
    }
}

/// Called by QEMU when it has loaded this file.
///
/// # Safety
/// The arguments are as QEMU's plugin interface says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU passes its description of itself and `argc` strings.
    let arguments = unsafe { qemu::start(info, argc, argv) };
    let argument = |name: &str| {
        arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    };
    let Some(out) = argument("out") else {
        eprintln!("ruler: out=FILE is missing");
        return 1;
    };
    OUT.get_or_init(|| out.to_owned());
    if let Some(between) = argument("between") {
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let Some(bounds) = between
            .split_once(':')
            .and_then(|(begin, end)| hex(begin).zip(hex(end)))
        else {
            eprintln!("ruler: not two addresses: {between}");
            return 1;
        };
        BETWEEN.get_or_init(|| bounds);
    }
    if let (Some(operation), Some(addresses)) = (argument("where"), argument("addresses")) {
        let number = match operation {
            "between" => Some(UNMARKED),
            key => Operation::from_key(key).map(|operation| operation as u16),
        };
        let Some(number) = number else {
            eprintln!("ruler: there is no operation {operation}");
            return 1;
        };
        with_meter(|meter| meter.profile = Some(Profile::new(number)));
        ADDRESSES.get_or_init(|| addresses.to_owned());
    }
    qemu::on_translation(id, translated);
    qemu::at_exit(id, ended);
    0
}
