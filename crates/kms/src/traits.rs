//! What the key ring asks of others: where keys are kept, and where their erasure secrets are.

use crate::key::{AliasRecord, KeyRecord};
use async_trait::async_trait;
use std::{fmt, io};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
#[error("keys cannot be stored or loaded: {0}")]
pub struct KeyStoreError(pub String);

/// Durable on return.
#[async_trait]
pub trait KeyStore: Send + Sync + fmt::Debug {
    async fn load(&self) -> Result<(Vec<KeyRecord>, Vec<AliasRecord>), KeyStoreError>;
    async fn put_key(&self, key: &KeyRecord) -> Result<(), KeyStoreError>;
    async fn put_alias(&self, alias: &AliasRecord) -> Result<(), KeyStoreError>;
}

/// One secret a key, kept outside of the database, so that destroying it destroys the key in every old copy of the database.
pub trait ErasureSecrets: Send + Sync + fmt::Debug {
    fn get(&self, key_id: &str) -> io::Result<Option<Zeroizing<[u8; 32]>>>;
    /// Durable on return. Errors: AlreadyExists.
    fn put(&self, key_id: &str, secret: &[u8; 32]) -> io::Result<()>;
}
