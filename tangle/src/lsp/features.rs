//! What the server knows about fragments by itself.

pub mod actions;
pub mod complete;
pub mod hover;
pub mod navigate;
pub mod outline;
pub mod rename;
