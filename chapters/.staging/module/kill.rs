// SPDX-License-Identifier: GPL-2.0

//! How a Guest dies: with a reason, and at once.

use kernel::{
    fmt,
    prelude::*,
    str::{
        CString, //
    },
};

/// The end of a Guest. Whoever finds out returns it, and nobody carries on.
pub(crate) struct Death(Option<CString>);

/// The result of something that may kill the Guest.
pub(crate) type Alive<T = ()> = core::result::Result<T, Death>;

impl Death {
    /// A death for the reason that the formatted text gives.
    pub(crate) fn new(reason: fmt::Arguments<'_>) -> Self {
        Self(CString::try_from_fmt(reason).ok())
    }

    /// The reason with its NUL; `None` if there was no memory to write it down.
    pub(crate) fn reason(&self) -> Option<&[u8]> {
        self.0.as_deref().map(CStr::to_bytes_with_nul)
    }
}

/// Return the Guest's death from here: `kill!("bad hypercall {nr}")`.
macro_rules! kill {
    ($($reason:tt)*) => {
        return Err($crate::kill::Death::new(::kernel::prelude::fmt!($($reason)*)))
    };
}

pub(crate) use kill;
