//! From events to the trail: which are recorded, how often it is synced, and what the store remembers of it.

use crate::{
    config::{Audit, DataEvents},
    metrics::Metrics,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tresor_audit::{AuditSink, Event, Head, Newest, ORDER_SLACK_MS, Origin, Trail, TrailLimits, uuid};
use tresor_cloudtrail_api::History;
use tresor_kms::{Call, KmsError, ServiceEvent, Witness};
use tresor_model::{ChangeRecord, Clock, Entropy, EventId, Identifiers, KeyArn, Principal, Timestamp};
use tresor_records::KeyRecords;
use tresor_storage::{Partition, Store, StoreError};

/// How often the trail is made durable and its head remembered.
const ROUND: Duration = Duration::from_secs(1);
/// Kinds of refused anonymous requests that are counted between two rounds; the rest is counted as one kind.
const MAX_REFUSED: usize = 1000;
/// Refused rows that are remembered, at about 50 bytes each.
const MAX_UNWRITTEN: usize = 1_000_000;
/// Refused rows that are tried again in one round.
const MAX_RETRIES: usize = 10_000;

/// The audit trail of a store.
#[derive(Debug)]
pub struct Recorder {
    trail: Trail,
    metrics: Metrics,
    settings: (DataEvents, Vec<String>),
    region: String,
    clock: Arc<dyn Clock>,
    identifiers: Identifiers,
    /// Refused requests of callers that could not be told: one event a round for each kind.
    refused: Mutex<HashMap<RefusedKind, (Event, u64)>>,
    /// Rows of the outbox whose events the trail holds, but not durably yet.
    settling: Mutex<Vec<(Partition, EventId)>>,
    /// Rows whose events the trail refused.
    unwritten: Mutex<Vec<(Vec<Partition>, EventId)>>,
    /// Rows beyond `MAX_UNWRITTEN`: the next start brings them into the trail.
    left: AtomicUsize,
    failing: AtomicBool,
}

/// What refused requests that are counted together have in common.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct RefusedKind {
    source_ip: Option<IpAddr>,
    service: &'static str,
    operation: &'static str,
    error: String,
    /// A key that exists: how many kinds there are is not the callers' choice.
    access_key_id: Option<String>,
}

impl RefusedKind {
    fn of(event: &Event) -> Self {
        Self {
            source_ip: event.origin.source_ip,
            service: event.source,
            operation: event.name,
            error: event.error.as_ref().map(|(code, _)| code.clone()).unwrap_or_default(),
            access_key_id: event.claimed.as_ref().map(|claimed| claimed.access_key_id.clone()),
        }
    }
}

impl Recorder {
    pub fn open(
        directory: &Path,
        seed: &[u8; 32],
        settings: &Audit,
        region: &str,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        remembered: Option<Head>,
    ) -> io::Result<Self> {
        let limits = TrailLimits { file_bytes: settings.file_bytes, files: settings.files };
        let trail = Trail::open(directory, seed, limits, remembered)?;
        let settings = (settings.data_events, settings.data_buckets.clone());
        Ok(Self {
            trail,
            metrics: Metrics::new(),
            settings,
            region: region.to_owned(),
            clock,
            identifiers: Identifiers::new(entropy),
            refused: Mutex::default(),
            settling: Mutex::default(),
            unwritten: Mutex::default(),
            left: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
        })
    }

    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Where commands of the command line come from.
    pub fn command_line(&self) -> Origin {
        Origin { user_agent: Some("tresor".into()), region: self.region.clone(), ..Origin::default() }
    }

    /// All figures, in the OpenMetrics text format.
    pub fn figures(&self, gather: impl FnOnce(&Metrics)) -> String {
        let pending = self.settling.lock().len() + self.unwritten.lock().len() + self.left.load(Ordering::Relaxed);
        self.metrics.audit_pending(pending);
        gather(&self.metrics);
        self.metrics.text()
    }

    /// Appends an event; `row` is where its record waits until the trail is durable.
    fn append(&self, event: &Event, row: Option<(Vec<Partition>, EventId)>) {
        self.metrics.recorded(event);
        self.append_json(&event.to_json(), row);
    }

    fn append_json(&self, event: &[u8], row: Option<(Vec<Partition>, EventId)>) {
        match (self.trail.append_json(event), row) {
            (Ok(()), row) => self.settle_later(row),
            (Err(error), row) => {
                self.failed(&error.to_string());
                let Some(row) = row else { return };
                let mut unwritten = self.unwritten.lock();
                match unwritten.len() < MAX_UNWRITTEN {
                    true => unwritten.push(row),
                    false => drop(self.left.fetch_add(1, Ordering::Relaxed)),
                }
            }
        }
    }

    fn settle_later(&self, row: Option<(Vec<Partition>, EventId)>) {
        if let Some((places, id)) = row {
            self.settling.lock().extend(places.into_iter().map(|place| (place, id)));
        }
    }

    /// Counts a failure of the trail; the first one of a row of failures is told.
    fn failed(&self, error: &str) {
        self.metrics.audit_failed();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(error, "the audit trail cannot be written; records of changes wait in the store");
        }
    }

    /// Writes one event for each kind of refused request since the last round.
    fn write_refused(&self) {
        let refused = std::mem::take(&mut *self.refused.lock());
        for (_, (mut event, count)) in refused {
            event.additional.insert("requestCount".into(), count.into());
            self.append(&event, None);
        }
    }

    /// Keeps the trail durable, its head in the store and the outbox empty, until the task is dropped.
    pub async fn keep(self: Arc<Self>, store: Store, records: Arc<KeyRecords>) {
        let mut remembered = None;
        loop {
            tokio::time::sleep(ROUND).await;
            match self.round(&store, &records, &mut remembered, false).await {
                Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                    tracing::info!("the audit trail is written again")
                }
                Ok(()) => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// The last round: closes the file with a digest.
    pub async fn finish(self: Arc<Self>, store: &Store, records: &KeyRecords) -> Result<(), String> {
        self.round(store, records, &mut None, true).await
    }

    async fn round(
        self: &Arc<Self>,
        store: &Store,
        records: &KeyRecords,
        remembered: &mut Option<Head>,
        last: bool,
    ) -> Result<(), String> {
        self.write_refused();
        // Taken before the trail is flushed: what comes later is not known to be durable.
        let done = std::mem::take(&mut *self.settling.lock());
        let settled = self.settle(store, records, remembered, last, &done).await;
        if settled.is_err() {
            self.settling.lock().extend(done);
        }
        settled?;
        self.append_unwritten(store).await
    }

    async fn settle(
        self: &Arc<Self>,
        store: &Store,
        records: &KeyRecords,
        remembered: &mut Option<Head>,
        last: bool,
        done: &[(Partition, EventId)],
    ) -> Result<(), String> {
        let this = Arc::clone(self);
        let head = tokio::task::spawn_blocking(move || if last { this.trail.finish() } else { this.trail.flush() })
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        if *remembered != Some(head) && head.sequence > 0 {
            records.put_audit_head(head).await.map_err(|error| error.to_string())?;
            *remembered = Some(head);
        }
        if done.is_empty() { Ok(()) } else { store.settle(done).await.map_err(|error| error.to_string()) }
    }

    /// Tries again what the trail refused, as it stands in the outbox.
    async fn append_unwritten(&self, store: &Store) -> Result<(), String> {
        for _ in 0..MAX_RETRIES {
            let Some((places, id)) = self.unwritten.lock().pop() else { return Ok(()) };
            for place in &places {
                let Some(event) = store.waiting_event(*place, &id).await.map_err(|error| error.to_string())? else {
                    continue;
                };
                self.append_json(&event, Some((places.clone(), id)));
                break;
            }
        }
        Ok(())
    }

    /// Appends what an earlier run committed and did not bring into the trail, then empties the outbox. Before requests are
    /// served: a row of a request that is being served would be taken for one of the past. Returns the number of events appended.
    pub async fn recover(&self, store: &Store) -> Result<usize, String> {
        let text = |error: StoreError| error.to_string();
        store.finish_deletes().await.map_err(text)?;
        let places = store.outbox_partitions().await.map_err(text)?;
        let mut missing: HashMap<String, EventId> = HashMap::new();
        let mut oldest: Option<Timestamp> = None;
        for place in &places {
            let mut after = None;
            loop {
                let (waiting, more) = store.waiting_events(*place, after).await.map_err(text)?;
                for row in &waiting {
                    missing.insert(uuid(&row.id), row.id);
                    let at = serde_json::from_slice(&row.event).ok().and_then(|event: Value| time_of(&event));
                    oldest = oldest.min(at).or(at);
                }
                after = waiting.last().map(|row| row.id);
                if !more || after.is_none() {
                    break;
                }
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        self.find_in_trail(&mut missing, oldest).map_err(|error| error.to_string())?;
        let mut appended = 0;
        for place in places {
            loop {
                // Every page is removed before the next one is read.
                let (mut waiting, _) = store.waiting_events(place, None).await.map_err(text)?;
                if waiting.is_empty() {
                    break;
                }
                waiting.sort_by_cached_key(|row| {
                    serde_json::from_slice(&row.event).ok().and_then(|event: Value| time_of(&event))
                });
                for row in &waiting {
                    if missing.remove(&uuid(&row.id)).is_some() {
                        self.trail.append_json(&row.event).map_err(|error| error.to_string())?;
                        appended += 1;
                    }
                }
                self.trail.flush().map_err(|error| error.to_string())?;
                let done: Vec<_> = waiting.iter().map(|row| (row.partition, row.id)).collect();
                store.settle(&done).await.map_err(text)?;
            }
        }
        Ok(appended)
    }

    /// Takes out of `missing` what the trail holds, looking back no further than the oldest of them.
    fn find_in_trail(&self, missing: &mut HashMap<String, EventId>, oldest: Option<Timestamp>) -> io::Result<()> {
        self.trail.show()?;
        for line in Newest::of(self.trail.directory(), None)? {
            let (_, event) = line?;
            if let Some(id) = event["eventID"].as_str() {
                missing.remove(id);
            }
            let before = |oldest: Timestamp| time_of(&event).is_some_and(|at| oldest.since(at) > ORDER_SLACK_MS);
            if missing.is_empty() || oldest.is_some_and(before) {
                break;
            }
        }
        Ok(())
    }
}

fn time_of(event: &Value) -> Option<Timestamp> {
    Timestamp::parse_iso8601(event["eventTime"].as_str()?)
}

impl AuditSink for Recorder {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn event_id(&self) -> EventId {
        self.identifiers.draw()
    }
    fn selects(&self, data: bool, read_only: bool, bucket: Option<&str>) -> bool {
        let (kinds, buckets) = &self.settings;
        let kind = match kinds {
            DataEvents::All => true,
            DataEvents::Writes => !read_only,
            DataEvents::None => false,
        };
        !data || (kind && (buckets.is_empty() || buckets.iter().any(|known| Some(known.as_str()) == bucket)))
    }
    fn record(&self, event: &Event, change: Option<ChangeRecord>) {
        self.metrics.request(event);
        let row = change.map(|change| (places(&change), change.id())).filter(|(places, _)| !places.is_empty());
        let told = event.caller.as_ref().is_some_and(|caller| caller.principal != Principal::Anonymous);
        let bucket = event.parameters.get("bucketName").and_then(Value::as_str);
        if row.is_none() && !told && event.error.is_some() {
            let mut refused = self.refused.lock();
            let mut kind = RefusedKind::of(event);
            if refused.len() >= MAX_REFUSED && !refused.contains_key(&kind) {
                kind = RefusedKind::default();
            }
            refused.entry(kind).or_insert_with(|| (event.clone(), 0)).1 += 1;
        } else if row.is_some() || self.selects(event.data, event.read_only, bucket) {
            self.append(event, row);
        }
    }
}

impl History for Recorder {
    fn newest(&self, below: Option<u64>) -> io::Result<Newest> {
        self.trail.show()?;
        Newest::of(self.trail.directory(), below)
    }
}

fn places(change: &ChangeRecord) -> Vec<Partition> {
    change.places().into_iter().map(Partition).collect()
}

impl Witness for Recorder {
    fn used_by_s3(&self, call: &Call<'_>, key: &KeyArn, material_id: Option<&str>, error: Option<&KmsError>) {
        let mut parameters = Map::new();
        parameters.insert("keyId".into(), key.as_str().into());
        parameters.insert("encryptionAlgorithm".into(), "SYMMETRIC_DEFAULT".into());
        let context: Map<String, Value> = call
            .context
            .unwrap_or_default()
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        parameters.insert("encryptionContext".into(), context.into());
        let mut additional = Map::new();
        if let Some(id) = material_id {
            additional.insert("keyMaterialId".into(), id.into());
        }
        let code = |error: &KmsError| match error {
            KmsError::AccessDenied(_) => "AccessDenied",
            KmsError::Disabled(_) => "DisabledException",
            KmsError::InvalidState(_) => "KMSInvalidStateException",
            KmsError::NotFound(_) => "NotFoundException",
            _ => "KMSInternalException",
        };
        let event = Event {
            source: "kms.amazonaws.com",
            name: call.operation,
            at: self.clock.now(),
            request_id: call.request_id.into(),
            event_id: self.event_id(),
            origin: Origin { region: self.region.clone(), ..Origin::default() },
            caller: Some(call.caller.clone()),
            invoked_by: Some("s3.amazonaws.com"),
            read_only: true,
            parameters,
            additional,
            resources: vec![("AWS::KMS::Key", key.to_string())],
            error: error.map(|error| (code(error).to_owned(), error.to_string())),
            ..Event::default()
        };
        self.append(&event, None);
    }

    fn service_event(&self, event: &ServiceEvent<'_>) -> Option<ChangeRecord> {
        let mut details = Map::new();
        details.insert("keyId".into(), event.key.key_id().into());
        let id = self.event_id();
        let event = Event {
            source: "kms.amazonaws.com",
            name: event.name,
            at: self.clock.now(),
            event_id: id,
            origin: Origin { region: self.region.clone(), ..Origin::default() },
            invoked_by: Some("AWS Internal"),
            service_account: Some(event.account.clone()),
            details,
            resources: vec![("AWS::KMS::Key", event.key.to_string())],
            ..Event::default()
        };
        ChangeRecord::new(id, event.to_record()).ok()
    }

    fn happened(&self, record: ChangeRecord) {
        self.append_json(record.event(), Some((places(&record), record.id())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{SystemClock, SystemEntropy};
    use tresor_audit::{AuditSpan, search, verify};
    use tresor_envelope::RecordKey;
    use tresor_model::{AccountId, BucketName, Caller};
    use tresor_storage::{IndexRoot, MemoryBlobs, MemoryMeta, MetaStore, StoreKeys};

    struct World {
        place: tempfile::TempDir,
        meta: Arc<MemoryMeta>,
    }

    impl World {
        fn new() -> Self {
            Self { place: tempfile::tempdir().unwrap(), meta: Arc::default() }
        }
        /// The server begins: what it held in memory is gone.
        fn start(&self, settings: &Audit) -> (Arc<Recorder>, Store, Arc<KeyRecords>) {
            let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
                (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
            let meta = Arc::clone(&self.meta) as Arc<dyn MetaStore>;
            let key = || RecordKey::derive(&[1; 32]);
            let keys = StoreKeys { records: key(), index: IndexRoot::new(&[2; 32]) };
            let store =
                Store::new(Arc::clone(&meta), Arc::<MemoryBlobs>::default(), keys, clock.clone(), entropy.clone());
            let recorder =
                Recorder::open(self.place.path(), &[3; 32], settings, "us-east-1", clock, entropy, None).unwrap();
            (Arc::new(recorder), store, Arc::new(KeyRecords::new(meta, key())))
        }
        fn events(&self) -> Vec<String> {
            let found = search(self.place.path(), 100, |_| true).unwrap();
            found.iter().rev().map(|event| event["eventName"].as_str().unwrap().to_owned()).collect()
        }
    }

    fn span(recorder: &Arc<Recorder>, operation: &'static str, bucket: &str, data: bool) -> AuditSpan {
        let sink = Arc::clone(recorder) as Arc<dyn AuditSink>;
        let mut span = AuditSpan::open(sink, "REQUEST".into(), Origin::default());
        span.operation(operation, false);
        span.parameter("bucketName", bucket);
        span.caller(&Caller::local(Principal::Root { account: account() }));
        if data {
            span.data(Some(bucket));
        }
        span
    }
    fn account() -> AccountId {
        "111122223333".parse().unwrap()
    }
    async fn create(store: &Store, span: &AuditSpan, name: &str) {
        let store = store.recording(span.change(&[], &[]));
        let name: BucketName = name.parse().unwrap();
        store.create_bucket(&name, &account(), "us-east-1", Vec::new()).await.unwrap();
    }
    async fn delete(store: &Store, span: &AuditSpan, name: &str) {
        let bucket = store.bucket(&name.parse().unwrap()).await.unwrap().unwrap();
        store.recording(span.change(&[], &[])).delete_bucket(&bucket).await.unwrap();
    }
    async fn waiting(store: &Store) -> usize {
        let mut all = 0;
        for place in store.outbox_partitions().await.unwrap() {
            all += store.waiting_events(place, None).await.unwrap().0.len();
        }
        all
    }

    /// A process that ends here and now: nothing of a span is recorded.
    fn crash(spans: impl IntoIterator<Item = AuditSpan>) {
        spans.into_iter().for_each(std::mem::forget);
    }

    #[tokio::test]
    async fn a_change_that_no_span_told_of_is_in_the_trail_once() {
        let world = World::new();
        let (recorder, store, _) = world.start(&Audit::default());
        let (made, document, gone) = (
            span(&recorder, "CreateBucket", "first", false),
            span(&recorder, "PutBucketEncryption", "first", false),
            span(&recorder, "DeleteBucket", "first", false),
        );
        create(&store, &made, "first").await;
        let bucket = store.bucket(&"first".parse().unwrap()).await.unwrap().unwrap();
        store.recording(document.change(&[], &[])).put_document(&bucket, "x", vec![1]).await.unwrap();
        assert_eq!(waiting(&store).await, 2);
        delete(&store, &gone, "first").await;
        assert_eq!(waiting(&store).await, 3, "the events of a deleted bucket stay");
        crash([made, document, gone]);
        let (recorder, store, _) = world.start(&Audit::default());
        assert_eq!(recorder.recover(&store).await, Ok(3));
        assert_eq!(recorder.recover(&store).await, Ok(0));
        let mut names = world.events();
        names.sort();
        assert_eq!(names, ["CreateBucket", "DeleteBucket", "PutBucketEncryption"]);
        assert_eq!(waiting(&store).await, 0);
        verify(world.place.path(), &recorder.trail().public_key(), None).unwrap();
    }

    #[tokio::test]
    async fn an_event_that_is_in_the_trail_is_not_written_again() {
        let world = World::new();
        let (recorder, store, records) = world.start(&Audit::default());
        let made = span(&recorder, "CreateBucket", "first", false);
        create(&store, &made, "first").await;
        made.seal(200);
        recorder.trail().flush().unwrap();
        assert_eq!(waiting(&store).await, 1);
        // The crash falls between the sync and the removal of the row; the trail goes on before anybody looks.
        let (recorder, store, _) = world.start(&Audit::default());
        let other = span(&recorder, "CreateBucket", "second", false);
        create(&store, &other, "second").await;
        crash([other]);
        let (recorder, store, _) = world.start(&Audit::default());
        assert_eq!(recorder.recover(&store).await, Ok(1));
        assert_eq!(world.events(), ["CreateBucket", "CreateBucket"]);
        // A round of a healthy server leaves nothing behind.
        let third = span(&recorder, "DeleteBucket", "second", false);
        delete(&store, &third, "second").await;
        third.seal(204);
        assert!(recorder.figures(|_| ()).contains("tresor_audit_pending 1"));
        recorder.round(&store, &records, &mut None, false).await.unwrap();
        assert_eq!(waiting(&store).await, 0);
        assert!(recorder.figures(|_| ()).contains("tresor_audit_pending 0"));
        assert_eq!(records.audit_head().await.unwrap().unwrap().sequence, 3);
    }

    #[tokio::test]
    async fn a_deletion_that_a_crash_broke_off_is_finished_with_its_event() {
        let world = World::new();
        let (recorder, store, _) = world.start(&Audit::default());
        let made = span(&recorder, "CreateBucket", "first", false);
        create(&store, &made, "first").await;
        let gone = span(&recorder, "DeleteBucket", "first", false);
        let bucket = store.bucket(&"first".parse().unwrap()).await.unwrap().unwrap();
        let deleting = store.recording(gone.change(&[], &[]));
        // The first commit closes the bucket; then the process ends.
        let mut once = Box::pin(deleting.delete_bucket(&bucket));
        std::future::poll_fn(|cx| {
            drop(std::future::Future::poll(once.as_mut(), cx));
            std::task::Poll::Ready(())
        })
        .await;
        drop(once);
        crash([made, gone]);
        let (recorder, store, _) = world.start(&Audit::default());
        assert_eq!(recorder.recover(&store).await, Ok(2));
        assert!(store.bucket(&"first".parse().unwrap()).await.unwrap().is_none());
        assert_eq!(world.events().len(), 2);
    }

    #[tokio::test]
    async fn only_selected_events_of_data_travel_with_their_change() {
        let world = World::new();
        let settings = Audit { data_buckets: vec!["told".into()], ..Audit::default() };
        let (recorder, ..) = world.start(&settings);
        assert!(span(&recorder, "PutObject", "told", true).change(&[], &[]).is_some());
        assert!(span(&recorder, "PutObject", "other", true).change(&[], &[]).is_none());
        assert!(span(&recorder, "CreateBucket", "other", false).change(&[], &[]).is_some());
        let none = Audit { data_events: DataEvents::None, ..Audit::default() };
        let (recorder, ..) = world.start(&none);
        assert!(span(&recorder, "PutObject", "told", true).change(&[], &[]).is_none());
    }

    #[tokio::test]
    async fn what_the_trail_refuses_waits_in_the_store() {
        let world = World::new();
        let small = Audit { file_bytes: 1, ..Audit::default() };
        let (recorder, store, records) = world.start(&small);
        let first = span(&recorder, "CreateBucket", "first", false);
        create(&store, &first, "first").await;
        first.seal(200);
        // The next event needs a new file, and there is no folder to make it in.
        let (place, away) = (world.place.path().to_owned(), world.place.path().with_extension("away"));
        std::fs::rename(&place, &away).unwrap();
        let second = span(&recorder, "CreateBucket", "second", false);
        create(&store, &second, "second").await;
        second.seal(200);
        assert!(recorder.figures(|_| ()).contains("tresor_audit_failures_total 1"));
        assert!(recorder.figures(|_| ()).contains("tresor_audit_pending 2"));
        std::fs::rename(&away, &place).unwrap();
        recorder.round(&store, &records, &mut None, false).await.unwrap();
        recorder.round(&store, &records, &mut None, false).await.unwrap();
        assert_eq!(world.events(), ["CreateBucket", "CreateBucket"]);
        assert_eq!(waiting(&store).await, 0);
    }
}
