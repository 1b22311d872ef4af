//! The meaning of a write: what was asked for, what is there, and what that comes to (S4, S5, S7).
//! Pure: no I/O belongs here, and nothing of how a request or an engine looks.
//!
//! Six nouns: a `Batch` is asked for, [`Writes`] are admitted of it, a [`Plan`] is what these come to against what is stored, a
//! [`Change`] is what happens to one row, an [`Effect`] what became of one entry, and the `Report` answers.
//!
//! The public module `backend` shows the protocol that a backend follows.

pub(crate) mod change;
pub(crate) mod duplicates;
pub(crate) mod record;
pub(crate) mod resolve;
pub(crate) mod writes;
