//! Figures for Prometheus, gathered where audit events pass.

use crate::assemble::Parts;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{collections::HashSet, fmt, sync::atomic::Ordering};
use tresor_audit::Event;
use tresor_kms::KeyState;
use tresor_storage::StoreFigures;

/// KMS keys that have figures of their own; the rest is counted as "other".
const MAX_KEYS: usize = 10_000;
/// Upper bounds of request times, in seconds.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    operation: &'static str,
    status: u16,
    sse: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    service: &'static str,
    operation: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemoryLabels {
    locked: &'static str,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: String,
    operation: &'static str,
    outcome: String,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<TimeLabels, Histogram>,
    calls: Family<KeyLabels, Counter>,
    events: Counter,
    pending: Gauge,
    failures: Counter,
    mirror_behind: Gauge,
    tend_failures: Counter,
    key_states: Family<StateLabels, Gauge>,
    secret_bytes: Family<MemoryLabels, Gauge>,
    store: StoreMetrics,
    keys: Mutex<HashSet<String>>,
}

/// The store's own counts, shown as they are.
struct StoreMetrics {
    inline_writes: Counter,
    blob_writes: Counter,
    blob_bytes: Counter,
    blobs_removed: Counter,
    garbage_collected: Counter,
    collector_errors: Counter,
    garbage_waiting: Gauge,
}

impl StoreMetrics {
    fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let inline_writes = counter("storage_inline_writes", "Small bodies written inside of a commit");
        let blob_writes = counter("storage_blob_writes", "Bodies written to files of their own");
        let blob_bytes =
            counter("storage_blob_bytes", "Bytes of ciphertext of the bodies written to files of their own");
        let blobs_removed = counter("storage_blobs_removed", "Files of bodies that were removed");
        let garbage_collected = counter("collector_rows", "Rows of garbage whose work is done");
        let collector_errors =
            counter("collector_errors", "Rows of garbage whose work failed; they stay until the next start");
        let garbage_waiting = Gauge::default();
        registry.register("collector_waiting", "Rows of garbage that wait", garbage_waiting.clone());
        Self {
            inline_writes,
            blob_writes,
            blob_bytes,
            blobs_removed,
            garbage_collected,
            collector_errors,
            garbage_waiting,
        }
    }

    fn set(&self, figures: &StoreFigures) {
        for (counter, value) in [
            (&self.inline_writes, figures.inline_writes),
            (&self.blob_writes, figures.blob_writes),
            (&self.blob_bytes, figures.blob_bytes),
            (&self.blobs_removed, figures.blobs_removed),
            (&self.garbage_collected, figures.garbage_collected),
            (&self.collector_errors, figures.collector_errors),
        ] {
            counter.inner().store(value, Ordering::Relaxed);
        }
        self.garbage_waiting.set(i64::try_from(figures.garbage_waiting).unwrap_or(i64::MAX));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tresor");
        let requests = Family::default();
        registry.register("requests", "Requests by operation, status and encryption", requests.clone());
        let seconds = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        registry.register("request_seconds", "Time from a request's head to its answer's last byte", seconds.clone());
        let calls = Family::default();
        registry.register(
            "kms_calls",
            "Uses of KMS keys by outcome, S3's on a caller's behalf included",
            calls.clone(),
        );
        let events = Counter::default();
        registry.register("audit_events", "Events that the audit trail was given", events.clone());
        let pending = Gauge::default();
        registry.register(
            "audit_pending",
            "Records of changes whose events the audit trail does not hold durably yet",
            pending.clone(),
        );
        let failures = Counter::default();
        registry.register("audit_failures", "Failed tries to write the audit trail", failures.clone());
        let mirror_behind = Gauge::default();
        let help = "1 while the key mirror lacks a change; 0 also without a mirror";
        registry.register("key_mirror_behind", help, mirror_behind.clone());
        let tend_failures = Counter::default();
        let help = "Failures to destroy, rotate or remember what was due; each is tried again every minute";
        registry.register("key_tending_failures", help, tend_failures.clone());
        let key_states = Family::default();
        registry.register("keys", "KMS keys of all accounts by state, AWS owned ones left out", key_states.clone());
        let secret_bytes = Family::default();
        let help = "Memory of long-lived secrets, and whether it is locked";
        registry.register("secret_memory_bytes", help, secret_bytes.clone());
        let store = StoreMetrics::register(&mut registry);
        let keys = Mutex::default();
        Self {
            registry,
            requests,
            seconds,
            calls,
            events,
            pending,
            failures,
            mirror_behind,
            tend_failures,
            key_states,
            secret_bytes,
            store,
            keys,
        }
    }

    /// Counts a request.
    pub fn request(&self, event: &Event) {
        let service = event.source.split('.').next().unwrap_or_default();
        let operation = event.name;
        let sse = event.sse.unwrap_or("");
        self.requests.get_or_create(&RequestLabels { service, operation, status: event.status, sse }).inc();
        self.seconds.get_or_create(&TimeLabels { service, operation }).observe(event.elapsed.as_secs_f64());
    }

    /// Counts the use of a key, and that an event was recorded.
    pub fn recorded(&self, event: &Event) {
        self.events.inc();
        let Some((_, arn)) = event.resources.iter().find(|(kind, _)| *kind == "AWS::KMS::Key") else { return };
        let mut keys = self.keys.lock();
        let known = keys.contains(arn) || (keys.len() < MAX_KEYS && keys.insert(arn.clone()));
        drop(keys);
        let outcome = match &event.error {
            None => "Success",
            Some((_, text)) if text.ends_with("is pending deletion.") => "PendingDeletion",
            Some((code, _)) => code,
        };
        let key = if known { arn.clone() } else { "other".to_owned() };
        let labels = KeyLabels { key, operation: event.name, outcome: outcome.to_owned() };
        self.calls.get_or_create(&labels).inc();
    }

    pub fn audit_pending(&self, records: usize) {
        self.pending.set(i64::try_from(records).unwrap_or(i64::MAX));
    }
    pub fn audit_failed(&self) {
        self.failures.inc();
    }
    /// Takes the figures that are kept elsewhere.
    pub fn gather(&self, parts: &Parts) {
        self.mirror_behind.set(i64::from(parts.records.mirror_is_behind() == Some(true)));
        self.tend_failures.inner().store(parts.keys.tend_failures(), Ordering::Relaxed);
        let (keys, now) = (parts.keys.all_keys(), parts.keys.now());
        for state in [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport] {
            let count = keys.iter().filter(|key| key.state(now) == state).count();
            let gauge = self.key_states.get_or_create(&StateLabels { state: state.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.store.set(&parts.store.figures());
        let (locked, unlocked) = tresor_memory::usage();
        for (label, bytes) in [("yes", locked), ("no", unlocked)] {
            let gauge = self.secret_bytes.get_or_create(&MemoryLabels { locked: label });
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// In the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
