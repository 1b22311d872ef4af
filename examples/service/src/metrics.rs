//! The store's events as metrics.
//!
//! Alarm on `profile_store_refusing` being 1, on any `profile_store_timed_out_total`, on
//! `profile_store_log_bytes` beyond the store's `with_log_bytes`, and on the 99th percentile of
//! `profile_store_wait_seconds`.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use profile_store::{Event, Gauges};

/// Histograms keep every sample until a scrape or an upkeep.
const UPKEEP: Duration = Duration::from_secs(5);

pub fn install() -> Result<PrometheusHandle, BuildError> {
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let recorder = prometheus.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            recorder.run_upkeep();
        }
    });
    Ok(prometheus)
}

/// It runs on the store's threads, so it only counts.
pub fn observe(event: &Event) {
    match event {
        Event::Committed { writes, users, bytes, waited, took, .. } => {
            counter!("profile_store_writes_total").increment(*writes as u64);
            counter!("profile_store_users_total").increment(*users as u64);
            counter!("profile_store_bytes_total").increment(*bytes as u64);
            histogram!("profile_store_wait_seconds").record(*waited);
            histogram!("profile_store_commit_seconds").record(*took);
        }
        Event::Failed { error, .. } => {
            counter!("profile_store_failed_total", "kind" => format!("{error:?}")).increment(1);
        }
        Event::TimedOut { .. } => counter!("profile_store_timed_out_total").increment(1),
        Event::Checkpoint { took, error: None, .. } => {
            histogram!("profile_store_checkpoint_seconds").record(*took);
        }
        _ => {}
    }
}

pub fn gauges(now: &Gauges) {
    gauge!("profile_store_queued_writes").set(now.writes as f64);
    gauge!("profile_store_queued_bytes").set(now.write_bytes as f64);
    gauge!("profile_store_queued_reads").set(now.reads as f64);
    gauge!("profile_store_log_bytes").set(now.log_bytes as f64);
    gauge!("profile_store_refusing").set(u8::from(now.refusing));
}
