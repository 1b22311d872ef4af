//! Profiles on their way elsewhere: from store to store, or to a file of lines and back.
//! It uses only the contract, and knows no backend.

pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod line;
pub(crate) mod walk;
