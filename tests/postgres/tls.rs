//! A server that lets nobody in without TLS.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use profile_store::{ErrorKind, HasGurus as _, ProfileStore as _};

use crate::server::{Server, hand_over, run};
use crate::{guru, open, open_with, user};

/// A certificate for `localhost` that signs itself, and its key.
fn certify(directory: &Path) {
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-out", "server.crt", "-keyout", "server.key"])
        .current_dir(directory)
        .stderr(std::process::Stdio::null()));
    hand_over(&directory.join("server.crt"));
    hand_over(&directory.join("server.key"));
}

#[test]
fn tls_is_used_where_it_is_required_and_verified_always() {
    let server = Server::start("");
    certify(&server.data());
    // A free port that no client's end of a connection gets meanwhile: Linux gives those from 32768 on.
    let mut ports = (0..10_000).map(|n| 20_000 + ((std::process::id() + n) % 10_000) as u16);
    let port = ports.find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).unwrap();
    server.crash();
    server.configure(&format!("listen_addresses = '127.0.0.1'\nssl = on\nport = {port}\n"));
    fs::write(
        server.data().join("pg_hba.conf"),
        "hostssl all locked all scram-sha-256\nhostssl all all all trust\n",
    )
    .unwrap();
    server.launch();
    let root = server.data().join("server.crt");
    let url = |host: &str, parameters: &str| format!("postgres://admin@{host}:{port}/postgres?{parameters}");
    let trusting = format!("sslmode=require&sslrootcert={}", root.display());

    let store = open(&url("localhost", &trusting));
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 1);

    let patience = Duration::from_secs(30);
    for (url, kind) in [
        // The server asks for TLS.
        (url("localhost", "sslmode=disable"), ErrorKind::PermissionDenied),
        // Nobody vouches for the certificate.
        (url("localhost", "sslmode=require"), ErrorKind::PermissionDenied),
        // It is another host's.
        (url("127.0.0.1", &trusting), ErrorKind::PermissionDenied),
        (url("localhost", "sslmode=require&sslrootcert=/no/such/file"), ErrorKind::InvalidInput),
        // It asks for a password.
        (url("localhost", &trusting).replace("admin@", "locked@"), ErrorKind::PermissionDenied),
        (url("localhost", &trusting).replace("admin@", "locked:wrong@"), ErrorKind::PermissionDenied),
        // It does not know the setting.
        (url("localhost", &format!("{trusting}&options=-c%20nosuch%3D1")), ErrorKind::Incompatible),
    ] {
        let error = open_with(&url, patience).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error:?}");
    }
    // It speaks no TLS.
    server.crash();
    server.configure("ssl = off\n");
    fs::write(server.data().join("pg_hba.conf"), "host all all all trust\n").unwrap();
    server.launch();
    let error = open_with(&url("localhost", &trusting), patience).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}
