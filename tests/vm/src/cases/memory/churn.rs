//! To come.

use crate::harness::Case;

pub(super) fn cases() -> Vec<Case> {
    Vec::new()
}
