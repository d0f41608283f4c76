//! What keys were last used for: remembered in memory, stored once in a while.

use crate::{
    access::Call,
    error::KmsError,
    key::{KeyRecord, KeyUse, LastUse},
    ring::KeyRing,
};

impl KeyRing {
    /// Remembers what a key was last used for: a cryptographic operation that succeeded.
    pub(crate) fn used(&self, call: &Call<'_>, key: &KeyRecord) {
        let operation = if call.operation.starts_with("ReEncrypt") { "ReEncrypt" } else { call.operation };
        let (at, request_id) = (self.clock.now(), call.request_id.to_owned());
        let last = LastUse { operation: operation.to_owned(), at, request_id };
        self.last_uses.lock().insert((key.account.clone(), key.id.clone()), (last, false));
    }
    pub fn last_use(&self, key: &KeyRecord) -> Option<LastUse> {
        self.last_uses.lock().get(&(key.account.clone(), key.id.clone())).map(|(last, _)| last.clone())
    }

    /// Stores what keys were used for since the last time; `tend` and the end of the server call it. Errors: Unavailable.
    pub async fn remember_uses(&self) -> Result<(), KmsError> {
        let mut fresh = Vec::new();
        for (name, (last, stored)) in self.last_uses.lock().iter_mut().filter(|(_, (_, stored))| !stored) {
            *stored = true;
            fresh.push(KeyUse { account: name.0.clone(), key_id: name.1.clone(), last: last.clone() });
        }
        for some in fresh.chunks(crate::traits::MAX_CHANGES) {
            self.store.put_uses(some).await?;
        }
        Ok(())
    }
}
