//! What can be asked of `lab`.

pub mod chapter;
pub mod class;
pub mod diff;
pub mod grade;
pub mod handout;
pub mod hint;
pub mod list;
pub mod prove;
pub mod run;
pub mod show;
pub mod watch;
