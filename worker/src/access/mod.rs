//! Who may do what.
//!
//! | module | what it holds |
//! |---|---|
//! | [`caller`] | who asks: everyone on an open worker, a credential by name on one with tokens |

pub mod caller;

pub use caller::Caller;
