//! Users to store, and what storing them costs. Shared by the rivals and the guard, which must
//! measure the same work by the same rule.

pub mod bulk;
pub mod files;
pub mod process;
pub mod reads;
pub mod singles;
pub mod table;
#[path = "../../users.rs"]
pub mod users;
