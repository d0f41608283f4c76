//! `tresor verify`: looks at everything and changes nothing. By the running server over its control socket, or here on the directory
//! of one that is stopped, with nothing opened for writing.

use crate::{
    assemble::{AssembleError, Parts, open_header},
    config::Config,
    machine::{Secrets, SystemClock, SystemEntropy},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tresor_envelope::{Binding, Envelope};
use tresor_identity::{Directory, DirectoryParts};
use tresor_kms::{
    Call, Identities, Inspected, KeyRing, KeyRingParts, KeyStore, KmsError, ObjectPlace, SoftwareKeys, Witness,
    erasure_names,
};
use tresor_model::{Caller, Clock, Entropy, KeyArn};
use tresor_records::{IdentityRecords, KeyRecords};
use tresor_storage::{
    BlobTree, Bucket, Found, IndexRoot, MetaStore, Opened, Opener, Problem, ProblemKind, Store, StoreKeys, Tally,
};
use tresor_storage_fs::{ErasureFiles, FsBlobs};
use tresor_storage_rocksdb::RocksReader;

/// Problems that are shown; more are counted.
const MAX_SHOWN: usize = 10_000;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);
/// How long a key that is being made may take from its secret to its row.
const SETTLE: Duration = Duration::from_secs(2);

/// What is told while it is found, and then the sum.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Progress { objects: u64, bytes: u64 },
    Problem(Wrong),
    Report(Value),
}

/// One problem, for people and programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wrong {
    pub kind: String,
    /// Empty outside of buckets.
    pub bucket: String,
    pub name: String,
    pub what: String,
}

impl Wrong {
    fn new(kind: &str, name: &str, what: impl Into<String>) -> Self {
        Self { kind: kind.into(), bucket: String::new(), name: name.into(), what: what.into() }
    }
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        let Problem { kind, bucket, name, what } = problem;
        Self { kind: kind.name().into(), bucket, name, what }
    }
}

/// What is looked at.
pub struct Subject {
    store: Store,
    tree: Arc<dyn BlobTree>,
    keys: Arc<KeyRing>,
    records: Arc<KeyRecords>,
    erasure: Arc<ErasureFiles>,
    directory: Arc<Directory>,
    region: String,
    audit: (PathBuf, Vec<u8>),
    /// A directory that no server runs on is locked meanwhile.
    _lock: Option<File>,
}

/// The parts of the running server.
pub fn running(parts: &Parts) -> Subject {
    Subject {
        store: parts.store.clone(),
        tree: Arc::clone(&parts.tree) as Arc<dyn BlobTree>,
        keys: Arc::clone(&parts.keys),
        records: Arc::clone(&parts.records),
        erasure: Arc::clone(&parts.erasure),
        directory: Arc::clone(&parts.directory),
        region: parts.region.clone(),
        audit: (parts.audit.trail().directory().to_owned(), parts.audit.trail().public_key()),
        _lock: None,
    }
}

/// Nobody asks a policy here, and nothing is witnessed.
#[derive(Debug)]
struct Nobody;
impl Identities for Nobody {
    fn bindings(&self, _: &Caller) -> tresor_policy::Bindings {
        tresor_policy::Bindings::default()
    }
    fn exists(&self, _: &str) -> bool {
        false
    }
}
impl Witness for Nobody {
    fn used_by_s3(&self, _: &Call<'_>, _: &KeyArn, _: Option<&str>, _: Option<&KmsError>) {}
    /// Nothing is changed here, so nothing has to be recorded.
    fn service_event(&self, _: &tresor_kms::ServiceEvent<'_>) -> Option<tresor_model::ChangeRecord> {
        None
    }
    fn happened(&self, _: tresor_model::ChangeRecord) {}
}

/// The store of a directory that no server runs on, opened for reading. Errors: `AssembleError`.
pub async fn stopped(config: &Config, dev: bool, secrets: &Secrets) -> Result<Subject, AssembleError> {
    let data = &config.data_dir;
    let unusable = |error: io::Error| AssembleError::DataDir(data.clone(), error);
    // Opened for reading, so that not even its time of change is new.
    let lock = OpenOptions::new().read(true).open(data.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AssembleError::InUse(data.clone())),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let domain = open_header(config, dev, secrets, &*entropy)?;
    let meta: Arc<dyn MetaStore> = Arc::new(RocksReader::open(&data.join("meta"))?);
    let blobs = Arc::new(FsBlobs::reading(&data.join("blobs")));
    let erasure = Arc::new(ErasureFiles::reading(&data.join("erasure")));
    let store_keys = StoreKeys { records: domain.record_key(), index: IndexRoot::new(&domain.index_root()) };
    let tree = Arc::clone(&blobs) as Arc<dyn BlobTree>;
    let store = Store::new(Arc::clone(&meta), blobs, store_keys, Arc::clone(&clock), Arc::clone(&entropy));
    // Nothing of it is read yet: what is damaged is found, not stumbled over.
    let directory = Arc::new(Directory::unread(DirectoryParts {
        store: Arc::new(IdentityRecords::new(Arc::clone(&meta), domain.record_key())),
        secrets: domain.access_keys(),
        sessions: domain.sessions(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    }));
    let records = Arc::new(KeyRecords::new(meta, domain.record_key()));
    let parts = KeyRingParts {
        store: Arc::clone(&records) as Arc<dyn KeyStore>,
        backend: Arc::new(SoftwareKeys::new(&domain, Arc::clone(&erasure) as Arc<_>, Arc::clone(&entropy))),
        witness: Arc::new(Nobody),
        identities: Arc::new(Nobody),
        clock,
        entropy,
    };
    let keys = Arc::new(KeyRing::open(&domain, &config.region, parts).await?);
    let audit_key = tresor_audit::public_key(&domain.audit_seed()).map_err(unusable)?;
    let audit = (data.join("audit"), audit_key);
    let region = config.region.clone();
    Ok(Subject { store, tree, keys, records, erasure, directory, region, audit, _lock: Some(lock) })
}

#[async_trait]
impl Opener for Subject {
    async fn open(&self, bucket: &Bucket, binding: &Binding, envelope: &Envelope) -> Opened {
        let place = ObjectPlace {
            region: &self.region,
            bucket_arn: bucket.name.arn(),
            object_arn: bucket.name.object_arn(&binding.key),
            owner: &bucket.owner,
        };
        match self.keys.inspect(envelope, binding, &place).await {
            Inspected::Key(key) => Opened::Key(key),
            Inspected::NeedsCustomer => Opened::NeedsCustomer,
            Inspected::MaterialDeleted => Opened::Destroyed,
            Inspected::NoKey(arn) => match self.records.is_destroyed(arn.key_id()).await {
                Ok(true) => Opened::Destroyed,
                Ok(false) => Opened::Failed(format!("its KMS key {arn} is gone, and was not destroyed")),
                Err(error) => Opened::Failed(error.to_string()),
            },
            Inspected::Failed(error) => Opened::Failed(format!("its data key does not open: {error}")),
        }
    }
}

/// Looks at everything; the report says `ok`. Errors: when the store cannot be read at all.
pub async fn verify(subject: &Subject, say: &mut (dyn FnMut(Said) + Send)) -> Result<(), String> {
    let mut shown: Vec<Wrong> = Vec::new();
    let mut told = Instant::now();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut tell = |wrong: Wrong, say: &mut (dyn FnMut(Said) + Send)| {
        *kinds.entry(wrong.kind.clone()).or_default() += 1;
        if shown.len() < MAX_SHOWN {
            say(Said::Problem(wrong.clone()));
            shown.push(wrong);
        }
    };
    for wrong in secrets(subject).await? {
        tell(wrong, say);
    }
    let (identities, unusable) = subject.directory.inspect().await.map_err(|error| error.to_string())?;
    for one in unusable {
        tell(Wrong::new("identity", &one.row, one.what), say);
    }
    let trail = match audit(subject).await {
        Ok(trail) => trail,
        Err(why) => {
            tell(Wrong::new("audit", "the audit trail", why), say);
            Value::Null
        }
    };
    let mut sink = |found: Found| match found {
        Found::Problem(problem) => tell(problem.into(), say),
        Found::Progress(tally) => {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                say(Said::Progress { objects: tally.objects, bytes: tally.authenticated_bytes });
            }
        }
    };
    let tally: Tally = subject
        .store
        .verify(Arc::clone(&subject.tree), subject, &mut sink)
        .await
        .map_err(|error| format!("the store cannot be read: {error}"))?;
    let total: u64 = kinds.values().sum();
    let modes: BTreeMap<_, _> = tally
        .modes
        .iter()
        .map(|(mode, (objects, bytes))| (*mode, json!({ "objects": objects, "bytes": bytes })))
        .collect();
    say(Said::Report(json!({
        "ok": total == 0,
        "buckets": tally.buckets,
        "objects": tally.objects,
        "uploads": tally.uploads,
        "rows": tally.rows,
        "files": tally.files,
        "authenticated_bytes": tally.authenticated_bytes,
        "encryption": modes,
        "not_opened": {
            "customer_key_needed": tally.without_customer_key,
            "key_destroyed": tally.destroyed,
        },
        "garbage": tally.garbage,
        "keys": subject.keys.all_keys().len(),
        "identities": identities,
        "audit": trail,
        "problem_count": total,
        "problem_kinds": kinds,
        "problems": shown,
        "problems_left_out": total - shown.len() as u64,
    })));
    Ok(())
}

/// Erasure secrets: every key has its own, and none is left of a key that is gone.
async fn secrets(subject: &Subject) -> Result<Vec<Wrong>, String> {
    let mut wrong = Vec::new();
    let names = subject.erasure.names();
    let names = match names {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| format!("the erasure secrets cannot be listed: {error}"))?,
    };
    for key in subject.keys.all_keys() {
        let name = format!("key {} of account {}", key.id, key.account);
        for secret in erasure_names(&key).iter().filter(|secret| !names.contains(secret)) {
            wrong.push(Wrong::new(
                "secret",
                &name,
                format!("its erasure secret {secret} is gone: nothing under it opens"),
            ));
        }
        if let Err(error) = subject.keys.check_materials(&key).await {
            wrong.push(Wrong::new(ProblemKind::Key.name(), &name, error.to_string()));
        }
    }
    let needed = || -> Vec<String> { subject.keys.all_keys().iter().flat_map(|key| erasure_names(key)).collect() };
    let mut surplus: Vec<&String> = names.iter().filter(|name| !needed().contains(name)).collect();
    if !surplus.is_empty() {
        // A key has its secret a moment before it has its row.
        // And the secret of deleted material goes a moment after its row has changed.
        tokio::time::sleep(SETTLE).await;
        let (needed, still) = (needed(), subject.erasure.names().unwrap_or_default());
        surplus.retain(|name| !needed.contains(name) && still.contains(name));
    }
    for name in surplus {
        // `KEY`, `KEY-DIGITS` of imported material, or `.new` of one that was being made.
        let mut destroyed = false;
        for id in [name.as_str(), name.get(..36).unwrap_or_default(), name.split('.').next().unwrap_or_default()] {
            destroyed |= subject.records.is_destroyed(id).await.map_err(|error| error.to_string())?;
        }
        let what = if destroyed {
            "it belongs to a key that was destroyed: with it, old copies of the database open that key again"
        } else {
            "no key needs it"
        };
        wrong.push(Wrong::new("secret", &format!("erasure secret {name}"), what));
    }
    Ok(wrong)
}

async fn audit(subject: &Subject) -> Result<Value, String> {
    let (directory, key) = &subject.audit;
    let head = subject.records.audit_head().await.map_err(|error| error.to_string())?;
    if head.is_none() && !directory.exists() {
        return Ok(Value::Null);
    }
    let look = |directory: &Path| tresor_audit::verify(directory, key, head);
    // An event may be on its way to the file at the first look.
    let found = match look(directory) {
        Err(_) => {
            tokio::time::sleep(SETTLE).await;
            look(directory)
        }
        found => found,
    };
    let found = found.map_err(|broken| broken.to_string())?;
    Ok(json!({ "first": found.first, "last": found.last, "files": found.files, "digests": found.digests }))
}

/// A report for people.
pub fn summary(report: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let mut lines = vec![format!(
        "{} objects and {} uploads in {} buckets; {} bytes authenticated in {} files and {} rows",
        count(&report["objects"]),
        count(&report["uploads"]),
        count(&report["buckets"]),
        count(&report["authenticated_bytes"]),
        count(&report["files"]),
        count(&report["rows"]),
    )];
    for (mode, sums) in report["encryption"].as_object().into_iter().flatten() {
        lines.push(format!("  {mode}: {} objects, {} bytes", count(&sums["objects"]), count(&sums["bytes"])));
    }
    let closed = &report["not_opened"];
    if count(&closed["customer_key_needed"]) > 0 {
        lines.push(format!(
            "  {} objects under SSE-C: record, place and length are right; their chunks need the customer's key",
            count(&closed["customer_key_needed"])
        ));
    }
    if count(&closed["key_destroyed"]) > 0 {
        let destroyed = count(&closed["key_destroyed"]);
        lines.push(format!("  {destroyed} objects whose key was destroyed or deleted on purpose: nothing opens them"));
    }
    if count(&report["problem_count"]) == 0 {
        lines.push("nothing is wrong".into());
    }
    for (kind, number) in report["problem_kinds"].as_object().into_iter().flatten() {
        lines.push(format!("  {kind}: {number} problems"));
    }
    lines.join("\n")
}
