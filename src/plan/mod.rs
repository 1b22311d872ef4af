//! The meaning of a write: the request against the stored state (S4, S5, S7).
//! Pure: there is no I/O here, and nothing of a request's or an engine's form.
//!
//! Six nouns: a `Batch` is asked for, and [`Writes`] are admitted of it. A [`Plan`] is their result against the stored state, and a
//! [`Change`] is one row's part of it. An [`Effect`] is the outcome of one entry, and the `Report` answers.
//!
//! The public module `backend` shows the protocol that a backend follows.

pub(crate) mod change;
pub(crate) mod duplicates;
pub(crate) mod record;
pub(crate) mod resolve;
pub(crate) mod writes;
