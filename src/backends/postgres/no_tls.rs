//! In place of TLS, where it is not compiled in.

use std::path::PathBuf;

use tokio_postgres::NoTls;

use crate::model::error::{Error, ErrorKind, Result};

pub(super) type Tls = NoTls;

/// The same, for another connection.
pub(super) fn same(tls: &Tls) -> Tls {
    *tls
}

pub(super) fn connector(required: bool, root: Option<PathBuf>) -> Result<Tls> {
    if required || root.is_some() {
        let message =
            "this build of profile-store has no TLS for PostgreSQL: enable its feature `postgres-tls`";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(NoTls)
}
