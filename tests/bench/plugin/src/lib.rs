//! QEMU loads this into itself and calls it for every piece of code that it translates, and then, since it asks for that, before every
//! instruction that is executed. When QEMU ends it writes one line for each pair of marks:
//!
//! ```text
//! SYSTEM OPERATION INSTRUCTIONS OF-THEM-EMULATION CLASS...
//! ```
//!
//! *Emulation* is what was executed on behalf of a function whose bounds the measured program told (see [`Mark::Bound`]), outside of
//! that function itself. Its argument is `out=FILE`. It counts for one emulated CPU.

mod qemu;

use qemu::{Id, Info, Instruction, Translated};
use ruler::marks::Mark;
use ruler::privileged::{CLASSES, Class, NAMES, class};
use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static INSTRUCTIONS: AtomicU64 = AtomicU64::new(0);
static PRIVILEGED: [AtomicU64; CLASSES] = [const { AtomicU64::new(0) }; CLASSES];
static STATE: Mutex<State> = Mutex::new(State::new());

/// A program that waits for an interrupt begins its operation in every round of a loop: a round is shorter than this. Whatever takes
/// longer has come.
const WAITING: u64 = 16;

/// One CPU executes, so nobody adds at the same time.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// All counters at one moment.
#[derive(Clone, Copy)]
struct Reading {
    instructions: u64,
    emulation: u64,
    privileged: [u64; CLASSES],
}

struct State {
    out: String,
    system: u16,
    number: u64,
    /// First and last address of the function that emulates.
    bounds: Option<(u64, Option<u64>)>,
    /// The counter when that function was last seen executing.
    seen: Option<u64>,
    /// What was executed between two instructions of that function.
    emulation: u64,
    begun: Option<HashMap<u16, Reading>>,
    lines: String,
}

impl State {
    const fn new() -> Self {
        Self {
            out: String::new(),
            system: 0,
            number: 0,
            bounds: None,
            seen: None,
            emulation: 0,
            begun: None,
            lines: String::new(),
        }
    }

    fn reading(&self) -> Reading {
        Reading {
            instructions: INSTRUCTIONS.load(Relaxed),
            emulation: self.emulation,
            privileged: PRIVILEGED.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }

    fn meet(&mut self, mark: Mark) {
        match mark {
            Mark::Begin(operation) => {
                let reading = self.reading();
                let begun = self.begun.get_or_insert_default();
                let waits = |begun: &Reading| reading.instructions - begun.instructions < WAITING;
                if begun.get(&operation).is_none_or(waits) {
                    begun.insert(operation, reading);
                }
            }
            Mark::End(operation) => {
                let now = self.reading();
                let begun = self.begun.get_or_insert_default().remove(&operation);
                if let Some(begun) = begun {
                    self.tell(operation, &begun, &now);
                }
            }
            Mark::System(system) => self.system = system,
            Mark::Digit(digit) => self.number = self.number << 4 | u64::from(digit),
            Mark::Bound => {
                self.bounds = match self.bounds {
                    Some((from, None)) => Some((from, Some(self.number))),
                    _ => Some((self.number, None)),
                }
            }
        }
    }

    fn tell(&mut self, operation: u16, begun: &Reading, now: &Reading) {
        let _ = write!(
            self.lines,
            "{} {operation} {} {}",
            self.system,
            now.instructions - begun.instructions,
            now.emulation - begun.emulation
        );
        for (now, begun) in now.privileged.iter().zip(&begun.privileged) {
            let _ = write!(self.lines, " {}", now - begun);
        }
        self.lines.push('\n');
    }

    /// Whether the instruction at this address belongs to the function that emulates.
    fn is_emulator(&self, address: u64) -> bool {
        matches!(self.bounds, Some((from, Some(to))) if (from..to).contains(&address))
    }

    /// Whether a call of that function begins at this address.
    fn is_entry(&self, address: u64) -> bool {
        matches!(self.bounds, Some((from, Some(_))) if from == address)
    }
}

fn with_state<T>(work: impl FnOnce(&mut State) -> T) -> T {
    work(
        &mut STATE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()),
    )
}

extern "C" fn executed(_cpu: c_uint, _data: *mut c_void) {
    count(&INSTRUCTIONS);
}

extern "C" fn executed_privileged(_cpu: c_uint, class: *mut c_void) {
    count(&INSTRUCTIONS);
    count(&PRIVILEGED[class as usize]);
}

extern "C" fn executed_mark(_cpu: c_uint, code: *mut c_void) {
    if let Some(mark) = Mark::from_code(code as usize as u16) {
        with_state(|state| state.meet(mark));
    }
}

/// What ran since the emulator's last instruction ran for it, unless this is a new call of it.
extern "C" fn executed_emulator(_cpu: c_uint, entry: *mut c_void) {
    let now = INSTRUCTIONS.load(Relaxed);
    with_state(|state| {
        if let (Some(seen), true) = (state.seen, entry.is_null()) {
            state.emulation += now - seen;
        }
        state.seen = Some(now + 1);
    });
}

extern "C" fn translated(_id: Id, code: *mut Translated) {
    // SAFETY: QEMU lends it to us for this call.
    for instruction in unsafe { qemu::instructions(code) } {
        instrument(&instruction);
    }
}

fn instrument(instruction: &Instruction) {
    let bytes = instruction.bytes();
    if let Some(mark) = Mark::of(&bytes) {
        instruction.on_execution(executed_mark, usize::from(mark.code()));
        return;
    }
    let address = instruction.address();
    let (emulator, entry) =
        with_state(|state| (state.is_emulator(address), state.is_entry(address)));
    if emulator {
        instruction.on_execution(executed_emulator, usize::from(entry));
    }
    match class(&bytes) {
        Some(class) => instruction.on_execution(executed_privileged, class as usize),
        None => instruction.on_execution(executed, 0),
    }
}

extern "C" fn ended(_id: Id, _data: *mut c_void) {
    with_state(|state| {
        if let Err(e) = std::fs::write(&state.out, &state.lines) {
            eprintln!("ruler: {}: {e}", state.out);
        }
    });
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
    argv: *const *const std::ffi::c_char,
) -> c_int {
    // SAFETY: QEMU passes its description of itself and `argc` strings.
    let arguments = unsafe { qemu::start(info, argc, argv) };
    match arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("out="))
    {
        Some(out) => with_state(|state| state.out = out.to_owned()),
        None => {
            eprintln!("ruler: out=FILE is missing");
            return 1;
        }
    }
    debug_assert!(NAMES.len() == CLASSES && Class::WriteCr3 as usize == 0);
    qemu::on_translation(id, translated);
    qemu::at_exit(id, ended);
    0
}
