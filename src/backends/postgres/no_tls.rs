//! In place of TLS, if it is not compiled in.

use std::path::PathBuf;

use tokio_postgres::NoTls;

use crate::model::error::{Error, ErrorKind, Result};

pub(super) type Tls = NoTls;

/// Whose word is taken for the server's certificate.
pub(super) enum Roots {
    System,
    #[expect(dead_code, reason = "read by the module that this one stands for")]
    File(PathBuf),
}

/// The same, for another connection.
pub(super) fn same(tls: &Tls) -> Tls {
    *tls
}

pub(super) fn connector(required: bool, roots: Roots) -> Result<Tls> {
    if required || matches!(roots, Roots::File(_)) {
        let message =
            "this build of profile-store has no TLS for PostgreSQL: enable its feature `postgres-tls`";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(NoTls)
}
