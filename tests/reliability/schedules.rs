//! Group commit under shuttle: the library's own source, in schedules of its threads taken at random.
//!
//! `build.rs` puts shuttle's locks and threads in; the queues' semaphores and channels are tokio's
//! own, whose every operation counts as one step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::scratch::size;
use crate::workload::Backend;

/// The library's group commit over one of the versions of its queue, and a scenario for it.
macro_rules! group_commit {
    ($name:ident, $workers:literal) => {
        #[allow(dead_code, clippy::all)]
        mod $name {
            mod plan {
                pub mod change {
                    pub use profile_store::backend::Effects;
                }
                pub mod writes {
                    pub use profile_store::backend::Writes;
                }
            }
            mod model {
                pub mod clock {
                    pub use profile_store::Clock;

                    /// The library's own is for itself.
                    pub trait Ask {
                        fn ask(&self) -> super::error::Result<super::timestamp::Timestamp>;
                    }

                    impl Ask for Clock {
                        fn ask(&self) -> super::error::Result<super::timestamp::Timestamp> {
                            Ok(self.now())
                        }
                    }
                }
                pub mod error {
                    pub use profile_store::{Error, ErrorKind, Result};
                }
                pub mod timestamp {
                    pub use profile_store::Timestamp;
                }
                pub mod name {
                    pub use profile_store::GuruSlug;
                }
            }
            mod admission {
                pub mod shield {
                    include!(concat!(env!("OUT_DIR"), "/shield.rs"));
                }
            }
            mod store {
                pub mod observe {
                    include!(concat!(env!("OUT_DIR"), "/observe.rs"));
                }
                pub mod options {
                    pub use profile_store::StoreOptions;
                }
            }
            mod engine {
                pub mod breaker {
                    include!(concat!(env!("OUT_DIR"), "/breaker.rs"));
                }
                pub mod deadline {
                    include!("impatience.rs");
                }
                pub mod room {
                    include!(concat!(env!("OUT_DIR"), "/room.rs"));
                }
                pub mod workers {
                    include!(concat!(env!("OUT_DIR"), "/", $workers));
                }
                pub mod group_commit {
                    use super::super::model::clock::Ask as _;

                    include!(concat!(env!("OUT_DIR"), "/group_commit.rs"));
                }
            }
            pub mod scenario {
                include!("scenario.rs");
            }
        }
    };
}

group_commit!(sound, "workers.rs");
group_commit!(lost_wakeup, "lost_wakeup.rs");
group_commit!(late_push, "late_push.rs");
group_commit!(false_busy, "false_busy.rs");

pub fn explored(_: Backend) {
    let wanted = size(20_000, 1_000_000);
    let ran = Arc::new(AtomicU64::new(0));
    let parts = [(0, 0), (1, 0), (2, 0), (3, 3)];
    std::thread::scope(|scope| {
        for chunk in parts.chunks(2) {
            let ran = &ran;
            let threads: Vec<_> = chunk
                .iter()
                .map(|&(seed, depth)| {
                    scope.spawn(move || explore(wanted / 4, seed, depth, sound::scenario::run, ran))
                })
                .collect();
            for thread in threads {
                thread.join().expect("a schedule that breaks a promise");
            }
        }
    });
    println!("  {} schedules, none breaks a promise", ran.load(SeqCst));
    assert!(ran.load(SeqCst) >= wanted);
    for (what, scenario) in [
        ("a lost wake-up", lost_wakeup::scenario::run as fn(u64)),
        ("a push behind the close", late_push::scenario::run),
        ("a call told busy that is made", false_busy::scenario::run),
    ] {
        let ran = Arc::new(AtomicU64::new(0));
        std::panic::set_hook(Box::new(|_| {}));
        let end = catch_unwind(AssertUnwindSafe(|| explore(20_000, 0, 0, scenario, &ran)));
        drop(std::panic::take_hook());
        println!("  control, {what}: found in schedule {}", ran.load(SeqCst));
        assert!(end.is_err(), "{what} goes unnoticed");
    }
}

/// Runs a scenario in so many schedules: at random, or with that many changes of priority.
fn explore(schedules: u64, seed: u64, depth: usize, scenario: fn(u64), ran: &Arc<AtomicU64>) {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    let (counted, ran) = (AtomicU64::new(0), Arc::clone(ran));
    let run = move || {
        ran.fetch_add(1, SeqCst);
        scenario(counted.fetch_add(1, SeqCst));
    };
    let count = schedules as usize;
    if depth == 0 {
        Runner::new(RandomScheduler::new_from_seed(seed, count), config).run(run);
    } else {
        Runner::new(PctScheduler::new_from_seed(seed, depth, count), config).run(run);
    }
}
