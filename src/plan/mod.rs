//! The meaning of a write: what was asked for, what is there, and what that comes to (S4, S5, S7).
//! Pure: no I/O belongs here, and nothing of how a request or an engine looks.
//!
//! Six nouns: a `Batch` is asked for, [`Writes`] are admitted of it, a [`Plan`] is what these come to against what is stored, a
//! [`Change`] is what happens to one row, an [`Effect`] what became of one entry, and the `Report` answers.
//!
//! Inside one transaction a backend looks for the row of each entry, hands [`Plan::resolve`] a way to read it, and then
//! makes the changes of [`Plan::changes`], all or none:
//!
//! ```
//! use std::collections::BTreeMap;
//! use profile_store::{Change, Effects, Record, Result, Timestamp, Writes};
//!
//! fn apply(rows: &mut BTreeMap<String, Record>, batch: &Writes, now: Timestamp) -> Result<Effects> {
//!     let mut plan = batch.plan(now);
//!     for entry in batch.entries() {
//!         let row = rows.get(entry.id().as_str());
//!         plan.resolve(entry, row.map(|record| || Ok(record.into())))?;
//!     }
//!     for change in plan.changes() {
//!         match change {
//!             Change::Insert(id, record) | Change::Update(id, record) => {
//!                 rows.insert(id.to_string(), record.clone());
//!             }
//!             Change::Delete(id) => {
//!                 rows.remove(id.as_str());
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
