//! File operations of fixed work: calls that write, bytes, and syncs.

use profile_store::{Batch, ProfileStore};
use profile_store_meter::files::{Counts, check_counting};
use profile_store_meter::users::{body, users};

use crate::record::Figures;
use crate::work::{BATCH, BATCHES, guru, options};

pub fn measure(figures: &mut Figures) {
    check_counting();
    let guru = guru();
    for scheme in ["sqlite", "sled"] {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("{scheme}:{}", directory.path().join("profiles").display());
        let store = pollster::block_on(profile_store::open_with(&url, options())).expect("opened");
        for (phase, version) in [("insert", 0), ("change", 1), ("retry", 1)] {
            let before = Counts::settled();
            for batch in 0..BATCHES {
                let request = body(&users(batch * BATCH, BATCH, version));
                let stored = store.upsert_batch(&guru, Batch::from_json(request.as_bytes()));
                assert!(pollster::block_on(stored).expect("stored").is_complete());
            }
            set(figures, &format!("{scheme}-{phase}"), Counts::settled() - before);
        }
        let before = Counts::settled();
        pollster::block_on(store.close()).expect("closed");
        set(figures, &format!("{scheme}-close"), Counts::settled() - before);
    }
}

fn set(figures: &mut Figures, name: &str, counts: Counts) {
    figures.set(name, "writes", counts.writes);
    figures.set(name, "bytes", counts.bytes);
    figures.set(name, "syncs", counts.syncs);
}
