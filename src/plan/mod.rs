//! The meaning of a write: what was asked for, what is there, and what that comes to (S4, S5, S7).
//! Pure: no I/O belongs here, and nothing of how a request or an engine looks.
//!
//! The semantics of writing (S4, S5, S7) live here and nowhere else. Inside one transaction a
//! backend reads the current record of each entry, hands it to [`Plan::resolve`], and then makes
//! the changes of [`Plan::changes`], all or none:
//!
//! ```
//! use std::collections::BTreeMap;
//! use profile_store::{Effects, Current, Record, Result, Timestamp, Write, Writes};
//!
//! fn apply(rows: &mut BTreeMap<String, Record>, batch: &Writes, now: Timestamp) -> Result<Effects> {
//!     let mut plan = batch.plan(now);
//!     for entry in batch.entries() {
//!         plan.resolve(entry, rows.get(entry.id().as_str()).map(Record::current));
//!     }
//!     for change in plan.changes() {
//!         match &change.write {
//!             Write::Insert(record) | Write::Update(record) => {
//!                 rows.insert(change.id.to_string(), record.clone());
//!             }
//!             Write::Delete => {
//!                 rows.remove(change.id.as_str());
//!             }
//!         }
//!     }
//!     Ok(plan.finish())
//! }
//! ```

pub(crate) mod change;
pub(crate) mod duplicates;
pub(crate) mod record;
pub(crate) mod resolve;
pub(crate) mod writes;
