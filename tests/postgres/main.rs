//! `PostgresStore` against a real server: one that the tests start themselves, or the one that
//! `PROFILE_STORE_POSTGRES_URL` names, as a role that may create databases.

mod backend;
mod server;
