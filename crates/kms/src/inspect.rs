//! Keys for the owner of the machine who looks whether everything opens: `tresor verify`. No policy, state or grant is asked, so
//! nothing that answers a client may call this; what comes out of it is never sent to anyone.

use crate::{
    error::KmsError,
    issue::{ObjectPlace, arn_of, data_key, object_key, with_arn},
    key::KeyRecord,
    ring::KeyRing,
};
use std::sync::Arc;
use tresor_envelope::{Binding, ContentKey, Envelope, OwnedLayer, SseMode};
use tresor_model::KeyArn;
use zeroize::Zeroizing;

/// What became of an envelope.
#[derive(Debug)]
pub enum Inspected {
    Key(ContentKey),
    /// SSE-C.
    NeedsCustomer,
    /// There is no such key; whether it was destroyed, its tombstone knows.
    NoKey(KeyArn),
    /// The material was imported and then deleted, or has expired.
    MaterialDeleted,
    Failed(KmsError),
}

impl KeyRing {
    /// The data key of an object, whatever the state of its KMS key.
    pub async fn inspect(&self, envelope: &Envelope, binding: &Binding, place: &ObjectPlace<'_>) -> Inspected {
        match self.opened(envelope, binding, place).await {
            Ok(found) => found,
            Err(error) => Inspected::Failed(error),
        }
    }

    async fn opened(
        &self,
        envelope: &Envelope,
        binding: &Binding,
        place: &ObjectPlace<'_>,
    ) -> Result<Inspected, KmsError> {
        let digest = binding.digest(&envelope.header);
        let mode = envelope.header.mode;
        let (resource, bound): (_, &[u8]) = match mode {
            SseMode::Customer => return Ok(Inspected::NeedsCustomer),
            SseMode::S3 => {
                let inner = self.unwrap_owned(envelope, OwnedLayer::Only, &digest, &envelope.wrapped)?;
                return Ok(Inspected::Key(envelope.unlock(data_key(&inner)?, None)?));
            }
            SseMode::KmsBucketKey => (&place.bucket_arn, binding.bucket.as_bytes()),
            SseMode::Kms | SseMode::Dsse => (&place.object_arn, &digest),
        };
        let arn = arn_of(envelope)?;
        let Ok(key) = self.describe(&arn) else { return Ok(Inspected::NoKey(arn)) };
        let named = envelope.wrapped.get(2 + key.id.len()..).and_then(|rest| rest.get(..32)).map(hex::encode);
        let deleted =
            |material: &&crate::key::Material| Some(&material.id) == named.as_ref() && material.wrapped.is_empty();
        if key.materials.iter().any(|material| deleted(&material)) {
            return Ok(Inspected::MaterialDeleted);
        }
        let full = with_arn(&envelope.context, resource);
        let plain: Zeroizing<Vec<u8>> = self.decrypt(&key, &full, bound, &envelope.wrapped).await?;
        let inner = match mode {
            SseMode::KmsBucketKey => {
                let salt = envelope.bucket_key_salt.ok_or(KmsError::InvalidCiphertext)?;
                let bucket_key = plain.as_slice().try_into().map_err(|_| KmsError::InvalidCiphertext)?;
                object_key(bucket_key, &salt, &digest)
            }
            SseMode::S3 | SseMode::Kms | SseMode::Dsse | SseMode::Customer => data_key(&plain)?,
        };
        let outer = match &envelope.outer_wrapped {
            Some(outer) => Some(data_key(&self.unwrap_owned(envelope, OwnedLayer::Outer, &digest, outer)?)?),
            None => None,
        };
        Ok(Inspected::Key(envelope.unlock(inner, outer)?))
    }

    /// Keys of all accounts.
    pub fn all_keys(&self) -> Vec<Arc<KeyRecord>> {
        self.keys.read().keys.values().map(|entry| Arc::clone(&entry.record)).collect()
    }

    /// Whether every material of a key that is there opens, by its stored form and not by what is in memory. Errors: Unavailable.
    pub async fn check_materials(&self, key: &KeyRecord) -> Result<(), KmsError> {
        for material in key.materials.iter().filter(|material| !material.wrapped.is_empty()) {
            self.backend.check(key, &material.id).await?;
        }
        Ok(())
    }
}

/// The names of the erasure secrets that a key hangs on.
pub fn erasure_names(key: &KeyRecord) -> Vec<String> {
    let present = key.materials.iter().filter(|material| !material.wrapped.is_empty());
    let mut names: Vec<String> =
        present.map(|material| material.erasure.clone().unwrap_or_else(|| key.id.clone())).collect();
    names.sort_unstable();
    names.dedup();
    names
}
