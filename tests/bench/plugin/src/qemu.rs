//! The part of QEMU's plugin interface that is used here.
//!
//! It is ten functions of C, which QEMU's own program exports; no package of Debian 12 has its header. The interface has a number: 1 in QEMU
//! 7.2, 3 and more since 9.1, where the bytes of an instruction are copied and no longer lent.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// This plugin, as QEMU names it.
pub type Id = u64;
/// A piece of code that was translated.
#[repr(C)]
pub struct Translated(c_void);
/// One instruction of it.
#[repr(C)]
struct Raw(c_void);

/// What QEMU says of itself.
#[repr(C)]
pub struct Info {
    _target: *const c_char,
    _oldest: c_int,
    version: c_int,
}

/// Called when an instruction is executed.
pub type OnExecution = extern "C" fn(c_uint, *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: extern "C" fn(Id, *mut Translated));
    fn qemu_plugin_register_atexit_cb(
        id: Id,
        callback: extern "C" fn(Id, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(code: *const Translated) -> usize;
    fn qemu_plugin_tb_get_insn(code: *const Translated, index: usize) -> *mut Raw;
    fn qemu_plugin_insn_size(instruction: *const Raw) -> usize;
    fn qemu_plugin_insn_vaddr(instruction: *const Raw) -> u64;
    // Lends the bytes (versions 1 and 2), or copies them (from 3 on).
    fn qemu_plugin_insn_data(instruction: *const Raw, to: *mut u8, len: usize) -> *const u8;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Raw,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
}

/// The version of the interface for which this was built. QEMU loads no other.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = version();

const fn version() -> c_int {
    match option_env!("QEMU_PLUGIN_VERSION") {
        Some(text) => match c_int::from_str_radix(text, 10) {
            Ok(version) => version,
            Err(_) => panic!("QEMU_PLUGIN_VERSION is no number"),
        },
        None => 1,
    }
}

static VERSION: AtomicI32 = AtomicI32::new(0);

/// Remembers QEMU's version of the interface; the plugin's arguments.
///
/// # Safety
/// `info` and the `argc` strings at `argv` are QEMU's.
pub unsafe fn start(info: *const Info, argc: c_int, argv: *const *const c_char) -> Vec<String> {
    // SAFETY: as the caller promises.
    VERSION.store(unsafe { (*info).version }, Relaxed);
    (0..argc as usize)
        // SAFETY: as the caller promises.
        .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) })
        .map(|text| text.to_string_lossy().into_owned())
        .collect()
}

/// `callback` is called for each piece of code that is translated.
pub fn on_translation(id: Id, callback: extern "C" fn(Id, *mut Translated)) {
    // SAFETY: a function of this plugin, which stays loaded.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, callback) }
}

/// `callback` is called when QEMU ends.
pub fn at_exit(id: Id, callback: extern "C" fn(Id, *mut c_void)) {
    // SAFETY: a function of this plugin, which stays loaded.
    unsafe { qemu_plugin_register_atexit_cb(id, callback, std::ptr::null_mut()) }
}

/// An instruction under translation.
pub struct Instruction(*mut Raw);

/// The instructions of a piece of code.
///
/// # Safety
/// QEMU has just passed `code` to a callback that has not returned, and the instructions are dropped before it does.
pub unsafe fn instructions(code: *const Translated) -> impl Iterator<Item = Instruction> {
    // SAFETY: as the caller promises.
    let len = unsafe { qemu_plugin_tb_n_insns(code) };
    // SAFETY: as the caller promises, and the index is good.
    (0..len).map(move |i| Instruction(unsafe { qemu_plugin_tb_get_insn(code, i) }))
}

impl Instruction {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        // SAFETY: an `Instruction` lives no longer than QEMU's.
        let len = unsafe { qemu_plugin_insn_size(self.0) };
        let mut bytes = vec![0; len];
        // SAFETY: as above, and the buffer has room for `len` bytes.
        let lent = unsafe { qemu_plugin_insn_data(self.0, bytes.as_mut_ptr(), len) };
        if VERSION.load(Relaxed) < 3 {
            // SAFETY: these versions lend `len` bytes, until the callback returns.
            bytes.copy_from_slice(unsafe { std::slice::from_raw_parts(lent, len) });
        }
        bytes
    }

    /// Where it lies, in virtual memory.
    pub fn address(&self) -> u64 {
        // SAFETY: an `Instruction` lives no longer than QEMU's.
        unsafe { qemu_plugin_insn_vaddr(self.0) }
    }

    /// `callback` is called with `data` before each execution.
    pub fn on_execution(&self, callback: OnExecution, data: usize) {
        // SAFETY: a function of this plugin, which stays loaded, that touches no register (flags 0).
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(self.0, callback, 0, data as *mut c_void) }
    }
}
