//! Directories that a store may be put into: mount points, what links lead to, and those below one that is not ours (S13).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use crate::child::{End, Job, Order};
use crate::scratch::Scratch;
use crate::threads::{USER, become_user};
use crate::volume::{mount, mounted};
use crate::workload::{Backend, observe, perform, state};

/// A role of this file, if it is one.
pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "mount-point" => mount_point_child(order),
        "foreign-parent" => foreign_parent_child(order),
        _ => return false,
    }
    true
}

pub fn mount_point(backend: Backend) {
    mounted("mount-point", backend);
}

pub fn foreign_parent(backend: Backend) {
    let scratch = Scratch::new();
    for above in ["readable", "unreadable"] {
        let job = Job::new("foreign-parent", backend, &scratch.path("files")).with("above", above);
        match job.run() {
            End::Done(words) if words.contains_key("lived") => {}
            End::Done(_) => return crate::did_not_run("foreign-parent", "becoming another user takes root"),
            other => panic!("{above}: {other:?}"),
        }
    }
}

/// The store is made, closed, opened again and whole.
fn lives(order: &Order) {
    let store = order.open().unwrap();
    for n in 0..3 {
        perform(&store, 0, n).unwrap();
    }
    pollster::block_on(store.close()).unwrap();
    drop(store);
    let store = order.open().unwrap();
    assert_eq!(observe(&store, 0).unwrap(), state(0, 3));
    pollster::block_on(store.close()).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mount_point_child(order: &Order) {
    let at = |name: &str| order.directory.join(name);
    for directory in ["mounted", "store.creating"] {
        fs::create_dir(at(directory)).unwrap();
    }
    fs::write(at("store.creating").join("precious"), b"bytes").unwrap();
    if !mount(&at("mounted"), 80) {
        return println!("unprivileged=yes");
    }
    symlink("mounted", at("store")).unwrap();
    lives(order);
    assert!(names(&at("mounted")).contains(&"profile-store".to_owned()));
    assert_eq!(names(&order.directory), ["mounted", "store", "store.creating"]);
    assert_eq!(fs::read(at("store.creating").join("precious")).unwrap(), b"bytes");
    println!("lived=yes");
}

/// The directory above can be read, or only passed through, and not be written.
fn foreign_parent_child(order: &Order) {
    if unsafe { libc::geteuid() } != 0 {
        return println!("unprivileged=yes");
    }
    let store = order.directory.join("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(USER), Some(USER)).unwrap();
    let above = order.directory.parent().unwrap();
    fs::set_permissions(above, fs::Permissions::from_mode(0o711)).unwrap();
    let mode = if order.text("above") == Some("unreadable") { 0o711 } else { 0o755 };
    fs::set_permissions(&order.directory, fs::Permissions::from_mode(mode)).unwrap();
    become_user(None);
    assert!(fs::write(order.directory.join("x"), b"").is_err(), "it is not ours");
    lives(order);
    println!("lived=yes");
}
