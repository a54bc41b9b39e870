// SPDX-License-Identifier: GPL-2.0

//! The Guest's timer: one shot, then interrupt 0.

use crate::bell::Bell;
use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{Arc, ArcBorrow},
    time::{
        hrtimer::{
            ArcHrTimerHandle, HrTimer, HrTimerCallback, HrTimerCallbackContext, HrTimerPointer,
            HrTimerRestart, RelativeMode,
        },
        Delta, Monotonic,
    },
};

/// Nothing is more urgent than this, in nanoseconds: the Guest must get somewhere in between.
const MIN_DELTA: u64 = 100;

/// The virtual interrupt of the timer.
const TIMER_IRQ: u64 = 0;

#[pin_data]
struct Alarm {
    #[pin]
    timer: HrTimer<Self>,
    bell: Arc<Bell>,
}

impl HrTimerCallback for Alarm {
    type Pointer<'a> = Arc<Self>;

    /// In an interrupt, on any CPU.
    fn run(this: ArcBorrow<'_, Self>, _: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.bell.send(TIMER_IRQ);
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Alarm {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// One timer of the Host's for one Guest. Dropping it cancels it.
pub(crate) struct Clock {
    alarm: Arc<Alarm>,
    running: Option<ArcHrTimerHandle<Alarm>>,
}

impl Clock {
    /// A clock that rings `bell`.
    pub(crate) fn new(bell: &Arc<Bell>) -> Result<Self> {
        let alarm = Arc::pin_init(
            pin_init!(Alarm {
                timer <- HrTimer::new(),
                bell: bell.clone(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            alarm,
            running: None,
        })
    }

    /// Ring once, `nanoseconds` from now; 0 means never mind.
    pub(crate) fn set(&mut self, nanoseconds: u64) {
        // The old handle cancels when it is dropped, so it must go before the new one starts.
        self.running = None;
        if nanoseconds != 0 {
            let delta = nanoseconds.max(MIN_DELTA).min(i64::MAX as u64) as i64;
            self.running = Some(self.alarm.clone().start(Delta::from_nanos(delta)));
        }
    }
}
