//! From events to the trail: which are recorded, how often it is synced, and what the store remembers of it.

use crate::{
    config::{Audit, DataEvents},
    metrics::Metrics,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{collections::HashMap, io, path::Path, sync::Arc, time::Duration};
use tresor_audit::{AuditSink, Event, Head, Origin, Trail, TrailLimits};
use tresor_kms::{Call, KeyStoreError, KmsError, Witness};
use tresor_model::{Clock, Entropy, KeyArn, Principal, Timestamp};
use tresor_records::KeyRecords;

/// How often the trail is made durable and its head remembered.
const ROUND: Duration = Duration::from_secs(1);
/// Kinds of refused anonymous requests that are counted between two rounds; the rest is counted as one kind.
const MAX_REFUSED: usize = 1000;

/// The audit trail of a store.
#[derive(Debug)]
pub struct Recorder {
    trail: Trail,
    metrics: Metrics,
    settings: (DataEvents, Vec<String>),
    region: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Refused requests of callers that could not be told, by address and operation: one event a round for each.
    refused: Mutex<HashMap<(String, String), (Event, u64)>>,
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
            entropy,
            refused: Mutex::default(),
        })
    }

    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    fn selects(&self, event: &Event) -> bool {
        if !event.data {
            return true;
        }
        let (kinds, buckets) = &self.settings;
        let kind = match kinds {
            DataEvents::All => true,
            DataEvents::Writes => !event.read_only,
            DataEvents::None => false,
        };
        let bucket = event.parameters.get("bucketName").and_then(Value::as_str).unwrap_or_default();
        kind && (buckets.is_empty() || buckets.iter().any(|known| known == bucket))
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn append(&self, event: &Event) {
        self.metrics.recorded(event);
        if let Err(error) = self.trail.append(event) {
            tracing::error!(%error, event = event.name, request_id = event.request_id, "an audit event could not be written");
        }
    }

    /// Writes one event for each kind of refused request since the last round.
    fn write_refused(&self) {
        let refused = std::mem::take(&mut *self.refused.lock());
        for (_, (mut event, count)) in refused {
            event.additional.insert("requestCount".into(), count.into());
            self.append(&event);
        }
    }

    /// Keeps the trail durable, and its head in the store, until the task is dropped.
    pub async fn keep(self: Arc<Self>, records: Arc<KeyRecords>) {
        let mut remembered = None;
        loop {
            tokio::time::sleep(ROUND).await;
            if let Err(error) = self.remember(&records, &mut remembered, false).await {
                tracing::error!(%error, "the audit trail could not be made durable");
            }
        }
    }

    /// The last round: closes the file with a digest.
    pub async fn finish(self: Arc<Self>, records: Arc<KeyRecords>) -> Result<(), KeyStoreError> {
        self.remember(&records, &mut None, true).await
    }

    async fn remember(
        self: &Arc<Self>,
        records: &KeyRecords,
        remembered: &mut Option<Head>,
        last: bool,
    ) -> Result<(), KeyStoreError> {
        self.write_refused();
        let this = Arc::clone(self);
        let head = tokio::task::spawn_blocking(move || if last { this.trail.finish() } else { this.trail.flush() })
            .await
            .map_err(|error| KeyStoreError(error.to_string()))?
            .map_err(|error| KeyStoreError(error.to_string()))?;
        if *remembered != Some(head) && head.sequence > 0 {
            records.put_audit_head(head).await?;
            *remembered = Some(head);
        }
        Ok(())
    }
}

impl AuditSink for Recorder {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn event_id(&self) -> String {
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        hex::encode(random)
    }
    fn sync(&self) -> io::Result<()> {
        self.trail.flush().map(drop)
    }
    fn record(&self, event: Event) {
        self.metrics.request(&event);
        let told = event.caller.as_ref().is_some_and(|caller| caller.principal != Principal::Anonymous);
        if !told && event.error.is_some() {
            let mut refused = self.refused.lock();
            let place = event.origin.source_ip.clone().unwrap_or_default();
            let mut kind = (place, event.name.clone());
            if refused.len() >= MAX_REFUSED && !refused.contains_key(&kind) {
                kind = (String::new(), String::new());
            }
            refused.entry(kind).or_insert((event, 0)).1 += 1;
        } else if self.selects(&event) {
            self.append(&event);
        }
    }
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
        self.append(&Event {
            source: "kms.amazonaws.com",
            name: call.operation.to_owned(),
            at: self.clock.now(),
            request_id: call.request_id.to_owned(),
            event_id: self.event_id(),
            origin: Origin { region: self.region.clone(), ..Origin::default() },
            caller: Some(call.caller.clone()),
            invoked_by: Some("s3.amazonaws.com"),
            read_only: true,
            data: false,
            parameters,
            additional,
            resources: vec![("AWS::KMS::Key", key.to_string())],
            error: error.map(|error| (code(error).to_owned(), error.to_string())),
            status: 0,
            elapsed: Duration::ZERO,
            sse: None,
        });
    }
}
