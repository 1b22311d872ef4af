//! Whatever stands in its files, a store is opened or refused, shows what was once stored or an error,
//! and never panics (S12). The input is a file, or changes to those of a real store.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use profile_store::{
    Durability, GuruSlug, HasGurus as _, ListOptions, Memory, ProfileStore, StoreOptions, User, open_with,
};
use tempfile::TempDir;

#[allow(dead_code)]
#[path = "../../tests/reliability/scratch.rs"]
mod scratch;

use scratch::copy;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// A file in SQLite's place.
    File(&'a [u8]),
    /// Changes to the file of a closed store, to the log of a killed one.
    Closed(Vec<(u16, u8)>),
    Log(Vec<(u16, u8)>),
    /// To sled's.
    Sled(Vec<(u16, u8)>),
}

fn options() -> StoreOptions {
    StoreOptions::default().with_read_threads(1).with_durability(Durability::ProcessCrash)
}

fn guru() -> GuruSlug {
    GuruSlug::new("guru").unwrap()
}

fn memory(n: u64) -> Memory {
    Memory::from_json(&format!(r#"{{"n":{n},"filler":"{}"}}"#, "x".repeat(100))).unwrap()
}

/// Real stores to begin with: SQLite's, closed and as a kill leaves it, and sled's.
static SEEDS: LazyLock<(TempDir, PathBuf, PathBuf, PathBuf)> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let [closed, killed, sled] = ["closed", "killed", "sled"].map(|name| directory.path().join(name));
    let open = directory.path().join("open");
    for path in [&closed, &killed, &open] {
        fs::create_dir(path).unwrap();
    }
    block_on(async {
        for url in [
            format!("sqlite:{}/store", closed.display()),
            format!("sqlite:{}/store", open.display()),
            format!("sled:{}", sled.display()),
        ] {
            let store = open_with(&url, options()).await.unwrap();
            for n in 0..20 {
                store.guru("guru").unwrap().upsert(User::new(format!("user-{n}"), memory(n))).await.unwrap();
            }
            if url.contains("/open/") {
                for name in ["store", "store-wal"] {
                    fs::copy(open.join(name), killed.join(name)).unwrap();
                }
            }
            store.close().await.unwrap();
        }
    });
    (directory, closed, killed, sled)
});

fn change(path: &Path, changes: &[(u16, u8)]) {
    let mut bytes = fs::read(path).unwrap();
    for (at, flip) in changes {
        // The held part stands at the beginning.
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= flip;
    }
    fs::write(path, bytes).unwrap();
}

async fn look(store: &dyn ProfileStore) {
    // Ids may be damaged beyond their checksum only together with what they name.
    let check = |id: &str, found: &Memory| {
        let n = id.strip_prefix("user-").and_then(|n| n.parse().ok());
        assert!(n.is_some_and(|n: u64| n < 20 && memory(n) == *found), "wrong data for {id}");
    };
    for n in 0..20 {
        if let Ok(Some(profile)) = store.guru("guru").unwrap().get(&format!("user-{n}")).await {
            check(&format!("user-{n}"), &profile.memory);
        }
    }
    if let Ok(page) = store.list(&guru(), &ListOptions::default()).await {
        page.profiles.iter().for_each(|profile| check(profile.external_user_id.as_str(), &profile.memory));
    }
    let _ =
        (store.gurus(None, 9).await, store.count(&guru()).await, store.stats().await, store.verify().await);
    let _ = store.guru("guru").unwrap().upsert(User::new("user-0", memory(1))).await;
    let _ = (
        store.guru("guru").unwrap().delete("user-3").await,
        store.delete_guru(&guru()).await,
        store.close().await,
    );
}

fuzz_target!(|input: Input<'_>| {
    let (_, closed, killed, sled) = &*SEEDS;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("files");
    let url = match &input {
        Input::File(bytes) => {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("store"), bytes).unwrap();
            format!("sqlite:{}/store", path.display())
        }
        Input::Closed(changes) => {
            copy(closed, &path);
            change(&path.join("store"), changes);
            format!("sqlite:{}/store", path.display())
        }
        Input::Log(changes) => {
            copy(killed, &path);
            change(&path.join("store-wal"), changes);
            format!("sqlite:{}/store", path.display())
        }
        Input::Sled(changes) => {
            copy(sled, &path);
            change(&path.join("data/db"), changes);
            // As after a kill, so that it is opened.
            fs::remove_file(path.join("closed")).unwrap();
            format!("sled:{}", path.display())
        }
    };
    block_on(async {
        if let Ok(store) = open_with(&url, options()).await {
            look(&*store).await;
        }
    });
});
