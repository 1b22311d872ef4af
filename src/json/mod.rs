//! JSON as text: where a value ends, what must be known of it, how texts are merged.
//! No type of this crate's own belongs here: that is the [`model`](crate::model)'s.

pub(crate) mod fold;
pub(crate) mod pointer;
pub(crate) mod scan;
pub(crate) mod verdict;
