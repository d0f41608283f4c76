//! From a configuration to working components: the only place that names a backend.

use crate::{
    config::Config,
    credentials, files,
    machine::{Secrets, SystemClock, SystemEntropy},
    mirror::{self, MirrorFiles},
    recorder::Recorder,
    root_key::{self, Asked},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tresor_buffers::BufferPool;
use tresor_identity::{Directory, DirectoryParts};
use tresor_kms::{Domain, DomainHeader, KeyRing, KeyRingParts, KeyStore, RootKey, SoftwareKeys, Witness};
use tresor_model::{AccountId, Clock, Entropy};
use tresor_records::{DirectoryIdentities, IdentityRecords, KeyRecords};
use tresor_storage::{IndexRoot, MetaStore, Store, StoreKeys};
use tresor_storage_fs::{ErasureFiles, FsBlobs};
use tresor_storage_rocksdb::RocksMeta;

/// What a server and a command are made of.
pub struct Parts {
    pub store: Store,
    pub tree: Arc<FsBlobs>,
    pub erasure: Arc<ErasureFiles>,
    pub region: String,
    pub keys: Arc<KeyRing>,
    pub records: Arc<KeyRecords>,
    pub data_dir: std::path::PathBuf,
    pub audit: Arc<Recorder>,
    pub directory: Arc<Directory>,
    /// The account of commands that name none.
    pub first_account: AccountId,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Held as long as the parts are: nobody else opens the directory.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error("the data directory {0} is in use by another tresor")]
    InUse(PathBuf),
    #[error("the data directory {0} cannot be used: {1}")]
    DataDir(PathBuf, io::Error),
    #[error("the store's header {0} is damaged")]
    Header(PathBuf),
    #[error(transparent)]
    RootKey(#[from] root_key::RootKeyError),
    #[error(transparent)]
    WrongRootKey(#[from] tresor_kms::WrongRootKey),
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    #[error(transparent)]
    Directory(#[from] tresor_identity::DirectoryError),
    #[error(transparent)]
    Mirror(#[from] mirror::MirrorError),
    #[error("the metadata cannot be opened: {0}")]
    Meta(#[from] tresor_storage::MetaError),
    #[error("KMS keys cannot be opened: {0}")]
    Kms(#[from] tresor_kms::KmsError),
    #[error("the configuration names {0:?}, which is not an account id")]
    Account(String),
}

pub(crate) const HEADER: &str = "store.tresor";

/// Opens the store of a data directory, or makes it. Errors: `AssembleError`.
pub async fn assemble(config: &Config, dev: bool, secrets: &Secrets) -> Result<Parts, AssembleError> {
    let data = &config.data_dir;
    let unusable = |error: io::Error| AssembleError::DataDir(data.clone(), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(unusable)?;
    let lock = File::create(data.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AssembleError::InUse(data.clone())),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let domain = open_domain(config, dev, secrets, &*entropy)?;
    let directory = credentials::directory(config, data, secrets, &*entropy)?;
    let account = |id: &str| id.parse::<AccountId>().map_err(|_| AssembleError::Account(id.to_owned()));
    let first_account = match config.account.first() {
        Some(declared) => account(&declared.id)?,
        None => directory
            .accounts()
            .next()
            .map(|account| account.id.clone())
            .ok_or_else(|| AssembleError::Account(String::new()))?,
    };
    let bar = ProgressBar::new_spinner().with_message("opening the metadata");
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(200));
    let meta: Arc<dyn MetaStore> = Arc::new(RocksMeta::open(&data.join("meta"))?);
    bar.finish_and_clear();
    let blobs =
        Arc::new(FsBlobs::open(&data.join("blobs"), BufferPool::new(config.server.buffer_bytes)).map_err(unusable)?);
    let erasure = Arc::new(ErasureFiles::open(&data.join("erasure")).map_err(unusable)?);
    let directory_parts = DirectoryParts {
        store: Arc::new(IdentityRecords::new(Arc::clone(&meta), domain.record_key())),
        secrets: domain.access_keys(),
        sessions: domain.sessions(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    };
    let directory = Arc::new(directory.open(directory_parts).await?);
    let store_keys = StoreKeys { records: domain.record_key(), index: IndexRoot::new(&domain.index_root()) };
    let tree = Arc::clone(&blobs);
    let store = Store::new(Arc::clone(&meta), blobs, store_keys, Arc::clone(&clock), Arc::clone(&entropy));
    let backend = Arc::new(SoftwareKeys::new(&domain, Arc::clone(&erasure) as Arc<_>, Arc::clone(&entropy)));
    let mut records = KeyRecords::new(meta, domain.record_key());
    if let Some(directory) = &config.kms.mirror {
        records = records.with_mirror(Arc::new(MirrorFiles::open(directory, data)?));
    }
    let records = Arc::new(records);
    compare_mirror(&records, config).await;
    let audit = Recorder::open(
        &data.join("audit"),
        &domain.audit_seed(),
        &config.audit,
        &config.region,
        Arc::clone(&clock),
        Arc::clone(&entropy),
        records.audit_head().await.map_err(tresor_kms::KmsError::from)?,
    );
    let audit = Arc::new(audit.map_err(unusable)?);
    let parts = KeyRingParts {
        store: Arc::clone(&records) as Arc<dyn KeyStore>,
        backend,
        witness: Arc::clone(&audit) as Arc<dyn Witness>,
        identities: Arc::new(DirectoryIdentities(Arc::clone(&directory))),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    };
    let ring = KeyRing::open(&domain, &config.region, parts).await?;
    for key in &config.kms.key {
        if records.is_lost(&key.account, &key.id) {
            tracing::error!(
                key = key.id,
                "this declared key is only in the key mirror: it is not made anew, restore it"
            );
            continue;
        }
        ring.declare(&account(&key.account)?, &key.id, key.alias.as_deref()).await?;
    }
    Ok(Parts {
        store,
        tree,
        erasure,
        region: config.region.clone(),
        keys: Arc::new(ring),
        records,
        audit,
        data_dir: data.clone(),
        directory,
        first_account,
        clock,
        entropy,
        _lock: lock,
    })
}

/// Compares the key mirror, and says what only the mirror has. A mirror that cannot be written stops nothing.
async fn compare_mirror(records: &KeyRecords, config: &Config) {
    let Some(directory) = &config.kms.mirror else { return };
    match records.compare_mirror().await {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => tracing::error!(
            "the key mirror holds rows that the store has lost: {}. With the server stopped, `tresor keys restore {}` brings them back",
            lost.join(", "),
            directory.display()
        ),
        Err(error) => tracing::error!(%error, "the key mirror could not be compared: it is behind"),
    }
}

/// The domain key by the store's header; a new store gets both.
fn open_domain(config: &Config, dev: bool, secrets: &Secrets, entropy: &dyn Entropy) -> Result<Domain, AssembleError> {
    let path = config.data_dir.join(HEADER);
    let unusable = |error: io::Error| AssembleError::DataDir(config.data_dir.clone(), error);
    let header: Option<DomainHeader> = match fs::read(&path) {
        Ok(bytes) => Some(minicbor::decode(&bytes).map_err(|_| AssembleError::Header(path.clone()))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unusable(error)),
    };
    if header.is_none() && holds_data(&config.data_dir) {
        return Err(AssembleError::Header(path));
    }
    let mut fresh = [0; 16];
    entropy.fill(&mut fresh);
    let store = header.as_ref().map_or(fresh, |header| header.store);
    let asked = Asked {
        settings: &config.root_key,
        dev,
        data_dir: &config.data_dir,
        store: &store,
        new_store: header.is_none(),
    };
    let root = root_key::obtain(&asked, secrets, entropy)?;
    if let Some(header) = header {
        return Ok(Domain::open(&root, &header)?);
    }
    let (domain, header) = Domain::create(&root, store, entropy);
    let bytes = minicbor::to_vec(&header).unwrap_or_default();
    files::replace(&path, &bytes).map_err(unusable)?;
    Ok(domain)
}

/// The domain key of a store that exists; nothing is made. Errors: `AssembleError`.
pub(crate) fn open_header(
    config: &Config,
    dev: bool,
    secrets: &Secrets,
    entropy: &dyn Entropy,
) -> Result<Domain, AssembleError> {
    let path = config.data_dir.join(HEADER);
    let bytes = fs::read(&path).map_err(|error| AssembleError::DataDir(config.data_dir.clone(), error))?;
    let header: DomainHeader = minicbor::decode(&bytes).map_err(|_| AssembleError::Header(path))?;
    let (settings, data_dir) = (&config.root_key, config.data_dir.as_path());
    let asked = Asked { settings, dev, data_dir, store: &header.store, new_store: false };
    Ok(Domain::open(&root_key::obtain(&asked, secrets, entropy)?, &header)?)
}

/// A directory with metadata but no header is a store whose header was lost: it must not get a new key.
fn holds_data(data: &Path) -> bool {
    data.join("meta").exists()
}

/// Draws a new root key into a file and wraps the store under it: the old key opens nothing any more but old copies of the header.
/// The server must be stopped. Errors: `AssembleError`, also when the file exists already.
pub fn rotate_root(config: &Config, dev: bool, secrets: &Secrets, new_file: &Path) -> Result<(), AssembleError> {
    let data = &config.data_dir;
    let unusable = |error: io::Error| AssembleError::DataDir(data.clone(), error);
    let lock = File::create(data.join("lock")).map_err(unusable)?;
    if let Err(error) = lock.try_lock() {
        return Err(match error {
            TryLockError::WouldBlock => AssembleError::InUse(data.clone()),
            TryLockError::Error(error) => unusable(error),
        });
    }
    let entropy = SystemEntropy::new();
    let path = data.join(HEADER);
    let bytes = fs::read(&path).map_err(unusable)?;
    let header: DomainHeader = minicbor::decode(&bytes).map_err(|_| AssembleError::Header(path.clone()))?;
    let asked = Asked { settings: &config.root_key, dev, data_dir: data, store: &header.store, new_store: false };
    let current = root_key::obtain(&asked, secrets, &entropy)?;
    let new = RootKey::generate(&entropy);
    let rewrapped = Domain::rewrap(&current, &new, &header, &entropy)?;
    // The new key is durable before the header needs it, and the header changes whole or not at all.
    root_key::write_new(new_file, data, &new)?;
    files::replace(&path, &minicbor::to_vec(&rewrapped).unwrap_or_default()).map_err(unusable)
}
