// SPDX-License-Identifier: GPL-2.0

//! Sleeping and waking, where the `kernel` crate has no words for it yet.

use kernel::{
    bindings,
    sync::atomic::{ordering::Full, Atomic},
    task::Task,
};

extern "C" {
    fn __cond_resched() -> core::ffi::c_int;
}

/// Let somebody else have the CPU if it is their turn.
pub(crate) fn give_way() {
    // SAFETY: We hold no spinlock and interrupts are on.
    unsafe { __cond_resched() };
}

/// Sleep until [`wake`] or a signal, unless `awake` says that there is a reason not to.
///
/// The order is what matters: first we declare ourselves asleep, then we look. Whoever changes what
/// `awake` looks at wakes us afterwards, so either we see the change or the wake-up undoes the sleep.
pub(crate) fn sleep_unless(awake: impl FnOnce() -> bool) {
    let state = |value: u32| {
        let task = Task::current_raw();
        // SAFETY: A task may change its own state. The exchange is a full barrier, so the look that
        // follows cannot come before it.
        unsafe {
            let word = &raw mut (*task).__state;
            Atomic::from_ptr(word).xchg(value, Full)
        };
    };
    state(bindings::TASK_INTERRUPTIBLE);
    if !awake() {
        // SAFETY: We are in a task, interrupts are on, no spinlock is held.
        unsafe { bindings::schedule() };
    }
    state(bindings::TASK_RUNNING);
}

/// Wake a task, and if it is running in a Guest on another CPU, interrupt that.
///
/// Safe to call from an interrupt.
pub(crate) fn wake(task: &Task) {
    task.wake_up();
    // SAFETY: `task` is alive. The call sends an interrupt at most.
    unsafe { bindings::kick_process(task.as_ptr()) };
}
