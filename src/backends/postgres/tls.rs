//! TLS by rustls. A server's certificate is verified in full: by its chain and its name.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::model::error::{Error, ErrorKind, Result};

pub(super) type Tls = MakeRustlsConnect;

/// Whose word is taken for the server's certificate.
pub(super) enum Roots {
    System,
    /// The certificates in this file.
    File(PathBuf),
}

/// The same, for another connection.
pub(super) fn same(tls: &Tls) -> Tls {
    tls.clone()
}

pub(super) fn connector(_required: bool, trusted: Roots) -> Result<Tls> {
    let failed = |what: String| Error::new(ErrorKind::InvalidInput, what);
    let mut roots = RootCertStore::empty();
    match trusted {
        Roots::File(path) => {
            let unreadable = || format!("can't read the root certificates in {}", path.display());
            let certificates = CertificateDer::pem_file_iter(&path)
                .map_err(|error| failed(unreadable()).with_source(error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(unreadable()).with_source(error))?;
                roots.add(certificate).map_err(|error| failed(unreadable()).with_source(error))?;
            }
        }
        // One that can't be read is missed by a server that needs it, and named in its error.
        Roots::System => {
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("can't set up TLS".to_owned()).with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
