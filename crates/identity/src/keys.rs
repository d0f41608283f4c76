//! Changes of access keys.

use crate::{
    directory::{Directory, Writing, seal_secret},
    error::IdentityError,
    limits,
    records::{AccessKeyRecord, Kind},
    secret::SecretAccessKey,
    world::unique_id,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Arc;
use zeroize::Zeroizing;

fn no_key(id: &str) -> IdentityError {
    IdentityError::NoSuchEntity(format!("The Access Key with id {id} cannot be found."))
}

impl Directory {
    /// Makes an access key; it is durable before its secret is shown. Errors: NoSuchEntity, LimitExceeded, Unmodifiable.
    pub async fn create_key(
        self: &Arc<Self>,
        writing: &Writing,
        user: &str,
    ) -> Result<(AccessKeyRecord, SecretAccessKey), IdentityError> {
        let parts = self.parts()?;
        self.change(writing, |draft| {
            let mut record = draft.changeable(Kind::User, user)?;
            if record.keys.len() >= limits::ACCESS_KEYS_PER_USER {
                return Err(IdentityError::LimitExceeded(format!(
                    "Cannot exceed quota for AccessKeysPerUser: {}",
                    limits::ACCESS_KEYS_PER_USER
                )));
            }
            let mut random = Zeroizing::new([0; 46]);
            draft.entropy.fill(&mut random[..]);
            let id = unique_id("AKIA", &random[..16]);
            let secret = SecretAccessKey::new(STANDARD.encode(&random[16..]));
            let sealed = seal_secret(&parts.secrets, draft.entropy, &id, &secret);
            let key = AccessKeyRecord { id: id.clone(), sealed, active: true, created: draft.now };
            record.keys.push(key.clone());
            draft.secrets.push((id, secret.clone()));
            draft.put(record)?;
            Ok((key, secret))
        })
        .await
    }

    /// Errors: NoSuchEntity, Unmodifiable.
    pub async fn set_key(
        self: &Arc<Self>,
        writing: &Writing,
        user: &str,
        id: &str,
        active: bool,
    ) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(Kind::User, user)?;
            record.keys.iter_mut().find(|key| key.id == id).ok_or_else(|| no_key(id))?.active = active;
            draft.put(record).map(drop)
        })
        .await
    }

    /// Errors: NoSuchEntity, Unmodifiable.
    pub async fn delete_key(self: &Arc<Self>, writing: &Writing, user: &str, id: &str) -> Result<(), IdentityError> {
        self.change(writing, |draft| {
            let mut record = draft.changeable(Kind::User, user)?;
            let before = record.keys.len();
            record.keys.retain(|key| key.id != id);
            if record.keys.len() == before {
                return Err(no_key(id));
            }
            draft.put(record).map(drop)
        })
        .await
    }
}
