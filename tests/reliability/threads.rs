//! A process that may start few threads: opening ends, with a store that works or with an error (P2, S13).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use crate::child::{End, Job, Order};
use crate::scratch::Scratch;
use crate::workload::{Backend, observe, perform, state};

/// A user without processes: a limit counts all of a user's, and does not hold for root.
pub const USER: u32 = 54_321;

/// More threads than any store starts.
const MANY: u64 = 40;

/// A role of this file, if it is one.
pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "few-threads" => few_child(order),
        "few-threads-bare" => bare_child(order),
        _ => return false,
    }
    true
}

pub fn few(backend: Backend) {
    if unsafe { libc::geteuid() } != 0 {
        return crate::did_not_run("few-threads", "becoming a user without processes takes root");
    }
    let scratch = Scratch::new();
    let (fresh, there) = (scratch.path("fresh"), scratch.path("there"));
    fs::set_permissions(fresh.parent().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
    let works = |directory: &Path, threads: u64| {
        let job = Job::new("few-threads", backend, directory).with("threads", threads);
        match job.patience(Duration::from_secs(60)).run() {
            End::Done(words) => words.contains_key("works"),
            other => panic!("with {threads} threads: {other:?}"),
        }
    };
    assert!(works(&there, MANY));
    let mut refused = 0;
    for threads in 1..MANY {
        let worked = [works(&scratch.path("fresh"), threads), works(&there, threads)];
        refused += worked.iter().filter(|worked| !**worked).count();
    }
    assert!(refused > 0, "the limit holds");
    assert!(works(&fresh, MANY) && works(&there, MANY), "what was refused is left whole");
    if backend == Backend::Sled {
        let bare = |threads| {
            let job = Job::new("few-threads-bare", backend, &scratch.path("bare")).with("threads", threads);
            job.patience(Duration::from_secs(5)).run()
        };
        // Else the store guards against nothing.
        assert!((1..5).any(|threads| bare(threads) == End::Hung), "sled by itself ends");
        assert!(matches!(bare(MANY), End::Done(_)));
    }
    println!("  refused {refused} of {} openings", 2 * (MANY - 1));
}

/// Gives up the rights of root, and may then run so many threads.
pub fn become_user(threads: Option<u64>) {
    let limited = |threads| {
        let limit = libc::rlimit { rlim_cur: threads, rlim_max: threads };
        unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &limit) == 0 }
    };
    let done = threads.is_none_or(limited)
        && unsafe {
            libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(USER) == 0 && libc::setuid(USER) == 0
        };
    assert!(done, "{}", std::io::Error::last_os_error());
}

fn few_child(order: &Order) {
    chown(&order.directory, Some(USER), Some(USER)).unwrap();
    become_user(order.number("threads"));
    match order.open() {
        Err(error) => println!("refused={:?}", error.kind()),
        Ok(store) => {
            let writer = u64::from(std::process::id());
            let before = observe(&store, writer).unwrap();
            for n in 0..20 {
                perform(&store, writer, n).unwrap();
            }
            assert_eq!(observe(&store, writer).unwrap(), state(writer, 20));
            pollster::block_on(store.close()).unwrap();
            println!("works=yes rows={}", before.len());
        }
    }
}

/// sled without the store around it.
fn bare_child(order: &Order) {
    chown(&order.directory, Some(USER), Some(USER)).unwrap();
    become_user(order.number("threads"));
    let db = sled::Config::new().path(order.directory.join("db")).flush_every_ms(None).open();
    println!("opened={}", db.and_then(|db| db.flush()).is_ok());
}
