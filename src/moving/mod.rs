//! Profiles on their way from one store to another, or to a file and back.
//!
//! | file | room |
//! |---|---|
//! | `walk.rs` | the pages of a whole store |
//! | `copy.rs` | from store to store |
//! | `line.rs` | a profile as a line of JSON |
//! | `export.rs` | a store as NDJSON |
//! | `import.rs` | NDJSON into a store |

mod copy;
mod export;
mod import;
mod line;
mod walk;

pub use copy::{Copied, CopyOptions, CopyPhase, CopyProgress, copy};
pub use export::Export;
pub use import::{Import, Imported, LineFailure};
pub use walk::Position;
