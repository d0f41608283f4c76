//! Making, describing, tagging, disabling and deleting keys, and their policies.

use crate::{
    access::{Call, Needs},
    error::KmsError,
    key::{KeyManager, KeyRecord, KeyState, Material, Origin},
    names::Found,
    new_key::{NewKey, default_policy, policy_text},
    ring::{DAY_MS, KeyRing},
    traits::{Change, Dependents},
};
use std::sync::{Arc, atomic::Ordering};
use tresor_model::{AccountId, Timestamp};
use tresor_policy::{CallerNames, MalformedPolicy, Question, key_policy, locks_out, size};

/// A key policy, in bytes.
const MAX_POLICY: usize = size::KEY;
/// Tags of a key.
const MAX_TAGS: usize = 50;
/// Days a key can wait for its deletion.
const DELETION_DAYS: std::ops::RangeInclusive<u32> = 7..=30;

fn account<'a>(call: &'a Call<'_>) -> Result<&'a AccountId, KmsError> {
    call.caller.account().ok_or_else(|| KmsError::AccessDenied("an anonymous caller has no keys".into()))
}

/// Errors: Tag.
fn check_tags(tags: &[(String, String)]) -> Result<(), KmsError> {
    for (n, (key, _)) in tags.iter().enumerate() {
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(KmsError::Tag("Tags beginning with aws: are reserved".into()));
        }
        if tags[..n].iter().any(|(known, _)| known == key) {
            return Err(KmsError::Tag("Duplicate tag keys".into()));
        }
    }
    if tags.len() > MAX_TAGS { Err(KmsError::Tag("Too many tags".into())) } else { Ok(()) }
}

impl KeyRing {
    /// Errors: AccessDenied, Validation for a usage the spec does not have, Unsupported, Tag, MalformedPolicy, LimitExceeded.
    pub async fn create_key(&self, call: &Call<'_>, new: NewKey, bypass: bool) -> Result<Found, KmsError> {
        let account = account(call)?.clone();
        let mut call = call.clone();
        call.keys
            .set("kms:KeySpec", new.spec.name())
            .set("kms:KeyUsage", new.usage.name())
            .set("kms:KeyOrigin", new.origin.name())
            .set("kms:BypassPolicyLockoutSafetyCheck", bypass.to_string());
        for (name, value) in &new.tags {
            call.keys.set(&format!("aws:RequestTag/{name}"), value.clone());
        }
        call.keys.set_all("aws:TagKeys", new.tags.iter().map(|(name, _)| name.clone()));
        self.permit_account(&call, "*")?;
        if !new.spec.usages().contains(&new.usage) {
            return Err(KmsError::Validation(format!(
                "KeyUsage {} is not compatible with KeySpec {}",
                new.usage.name(),
                new.spec.name()
            )));
        }
        check_tags(&new.tags)?;
        if let Some(text) = &new.policy {
            let arn = self.arn(&account, "00000000-0000-0000-0000-000000000000")?;
            self.check_policy(&call, text, arn.as_str(), bypass)?;
        }
        if new.origin == Origin::External && !new.spec.is_symmetric() && !new.spec.is_hmac() {
            return Err(KmsError::Unsupported(format!(
                "Origin EXTERNAL is not supported for KeySpec {}.",
                new.spec.name()
            )));
        }
        let _turn = self.turn().await;
        let key = self.new_record(&account, new, KeyManager::Customer).await?;
        let arn = self.arn(&account, &key.id)?;
        self.put(key, call.record(&arn).as_ref()).await?;
        self.locate(call.caller, arn.as_str())
    }

    pub fn describe_key(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        self.admit(call, name, Needs::Nothing)
    }

    /// Ids of the caller's keys, ascending.
    pub fn list_keys(&self, call: &Call<'_>) -> Result<Vec<String>, KmsError> {
        self.permit_account(call, "*")?;
        Ok(self.list(account(call)?).into_iter().map(|(key, _)| key.id.clone()).collect())
    }

    /// Changes a key that the caller may change, in the state the operation needs.
    async fn change(
        &self,
        call: &Call<'_>,
        name: &str,
        needs: Needs,
        edit: impl FnOnce(&mut KeyRecord, &Found) -> Result<(), KmsError>,
    ) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        let mut found = self.admit_change(call, name, needs)?;
        let mut key = found.record().clone();
        edit(&mut key, &found)?;
        found.entry.record = self.put(key, call.record(&found.arn).as_ref()).await?;
        Ok(found)
    }

    pub async fn set_enabled(&self, call: &Call<'_>, name: &str, enabled: bool) -> Result<Found, KmsError> {
        let state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
        self.change(call, name, Needs::Material, |key, _| {
            key.set_state = state;
            Ok(())
        })
        .await
    }

    pub async fn describe_as(&self, call: &Call<'_>, name: &str, description: &str) -> Result<Found, KmsError> {
        self.change(call, name, Needs::Living, |key, _| {
            description.clone_into(&mut key.description);
            Ok(())
        })
        .await
    }

    /// What hangs on the key is counted for the record first. Errors: Validation for a window that is not 7 to 30 days.
    pub async fn schedule_deletion(
        &self,
        call: &Call<'_>,
        name: &str,
        days: u32,
        dependents: &dyn Dependents,
    ) -> Result<Found, KmsError> {
        if !DELETION_DAYS.contains(&days) {
            return Err(KmsError::Validation(format!(
                "1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value {}",
                if days < 7 { "greater than or equal to 7" } else { "less than or equal to 30" }
            )));
        }
        let mut call = call.clone();
        call.keys.set("kms:ScheduleKeyDeletionPendingWindowInDays", days.to_string());
        // Judged before anything is counted: counting looks into every bucket.
        let found = self.admit_change(&call, name, Needs::Living)?;
        if let Some(recording) = call.recording {
            let impact = dependents.impact(&found.record().id).await;
            if let Err(error) = &impact {
                tracing::error!(%error, "what hangs on a key could not be counted");
            }
            let impact = impact.ok();
            recording.note("dependentObjects", impact.map(|(objects, _)| objects));
            recording.note("dependentBytes", impact.map(|(_, bytes)| bytes));
        }
        let at = self.clock.now().plus_millis(u64::from(days) * DAY_MS);
        self.change(&call, name, Needs::Living, |key, _| {
            key.set_state = KeyState::PendingDeletion;
            key.deletion = Some((at, days));
            Ok(())
        })
        .await
    }

    /// The key is disabled afterwards.
    pub async fn cancel_deletion(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        self.change(call, name, Needs::Nothing, |key, found| {
            if key.set_state != KeyState::PendingDeletion {
                return Err(KmsError::InvalidState(format!("{} is not pending deletion.", found.arn)));
            }
            key.set_state = KeyState::Disabled;
            key.deletion = None;
            Ok(())
        })
        .await
    }

    /// Errors: Tag.
    pub async fn tag(&self, call: &Call<'_>, name: &str, tags: Vec<(String, String)>) -> Result<Found, KmsError> {
        let mut call = call.clone();
        for (key, value) in &tags {
            call.keys.set(&format!("aws:RequestTag/{key}"), value.clone());
        }
        call.keys.set_all("aws:TagKeys", tags.iter().map(|(key, _)| key.clone()));
        self.change(&call, name, Needs::Living, |key, _| {
            check_tags(&tags)?;
            for (name, value) in tags {
                match key.tags.iter_mut().find(|(known, _)| *known == name) {
                    Some(known) => known.1 = value,
                    None => key.tags.push((name, value)),
                }
            }
            check_tags(&key.tags)
        })
        .await
    }

    pub async fn untag(&self, call: &Call<'_>, name: &str, keys: &[String]) -> Result<Found, KmsError> {
        let mut call = call.clone();
        call.keys.set_all("aws:TagKeys", keys.to_vec());
        self.change(&call, name, Needs::Living, |key, _| {
            if keys.iter().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
                return Err(KmsError::Tag("Tags beginning with aws: are reserved".into()));
            }
            key.tags.retain(|(known, _)| !keys.contains(known));
            Ok(())
        })
        .await
    }

    /// For operations that look at a key by id or ARN: tags, policies, rotation.
    pub fn look(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        self.admit_by_id(call, name, Needs::Nothing)
    }

    /// The policy in force, as it was written.
    pub fn policy(&self, key: &KeyRecord) -> String {
        policy_text(key, &self.region)
    }

    /// Errors: MalformedPolicy, also for one that would lock the caller out unless `bypass`.
    pub async fn put_policy(&self, call: &Call<'_>, name: &str, text: &str, bypass: bool) -> Result<Found, KmsError> {
        let mut call = call.clone();
        call.keys.set("kms:BypassPolicyLockoutSafetyCheck", bypass.to_string());
        let check = call.clone();
        self.change(&call, name, Needs::Nothing, |key, found| {
            self.check_policy(&check, text, found.arn.as_str(), bypass)?;
            key.policy = Some(text.to_owned());
            Ok(())
        })
        .await
    }

    fn check_policy(&self, call: &Call<'_>, text: &str, arn: &str, bypass: bool) -> Result<(), KmsError> {
        let malformed = |text: &str| Err(MalformedPolicy(text.to_owned()).into());
        if text.len() > MAX_POLICY {
            return Err(KmsError::LimitExceeded(format!("A key policy has at most {MAX_POLICY} bytes.")));
        }
        let policy = key_policy(text)?;
        if policy.principals().any(|principal| !self.identities.exists(principal)) {
            return malformed("Policy contains a statement with one or more invalid principals.");
        }
        if bypass {
            return Ok(());
        }
        let names = CallerNames::of(call.caller);
        let who = names.requester(call.caller);
        let question = Question { who, action: "kms:PutKeyPolicy", resource: arn, context: &call.keys };
        if locks_out(&policy, &question) {
            return malformed("The new key policy will not allow you to update the key policy in the future.");
        }
        Ok(())
    }

    /// For the command line of the machine's owner: no policy is asked. Errors: NotFound, AccessDenied for a key AWS manages.
    pub async fn set_state_locally(
        &self,
        call: &Call<'_>,
        key: &Found,
        state: KeyState,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let _turn = self.turn().await;
        let record = self.describe(&key.arn)?;
        if record.manager == KeyManager::Aws {
            return Err(KmsError::AccessDenied(format!("{}: AWS manages it", key.arn)));
        }
        record.demand(Needs::Material, &key.arn, self.clock.now())?;
        let set = KeyRecord { set_state: state, ..(*record).clone() };
        self.put(set, call.record(&key.arn).as_ref()).await
    }

    /// The default policy of an account's keys.
    pub fn default_policy(account: &AccountId) -> String {
        default_policy(account)
    }

    /// Carries out what time brings: expired imported material and keys at the end of their waiting period are destroyed, keys
    /// that rotate by themselves rotate. Idempotent: a crash in the middle is finished by the next call. One key at which it fails
    /// keeps it from no other; the failure is logged and counted, and the key's turn comes again with the next call.
    /// Returns the ids of keys that were destroyed.
    pub async fn tend(&self) -> Vec<String> {
        let now = self.clock.now();
        let mut destroyed = Vec::new();
        for key in self.all_keys() {
            match self.tend_key(&key, now).await {
                Ok(true) => destroyed.push(key.id.clone()),
                Ok(false) => {}
                Err(error) => self.not_tended(&format!("KMS key {}", key.id), &error),
            }
        }
        self.rotate_owned(now).await;
        if let Err(error) = self.remember_uses().await {
            self.not_tended("the last uses of keys", &error);
        }
        destroyed
    }

    /// How often `tend` failed at something since the start.
    pub fn tend_failures(&self) -> u64 {
        self.tend_failures.load(Ordering::Relaxed)
    }

    pub(crate) fn not_tended(&self, what: &str, error: &KmsError) {
        self.tend_failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(what, %error, "what time brings could not be carried out; it is tried again in the next round");
    }

    /// True when the key was destroyed.
    async fn tend_key(&self, key: &KeyRecord, now: Timestamp) -> Result<bool, KmsError> {
        if key.deletion.is_some_and(|(at, _)| at <= now) && key.set_state == KeyState::PendingDeletion {
            return self.destroy(key, now).await;
        }
        let expired = |material: &Material| !material.wrapped.is_empty() && !material.is_present(now);
        if key.materials.iter().any(|material| expired(material) || material.is_forgotten()) {
            let _turn = self.turn().await;
            let Some(mut entry) = self.find(&key.account, &key.id) else { return Ok(false) };
            if entry.record.materials.iter().any(expired) {
                let mut key = KeyRecord::clone(&entry.record);
                for material in key.materials.iter_mut().filter(|material| expired(material)) {
                    material.wrapped.clear();
                }
                let record = self.service_record("DeleteExpiredKeyMaterial", &key.account, &key.id)?;
                entry.record = self.put(key, record.as_ref()).await?;
                self.happened(record);
            }
            self.destroy_forgotten(&entry.record).await?;
        } else if key.rotation.is_some_and(|rotation| rotation.next <= now) && key.state(now) == KeyState::Enabled {
            self.rotate_by_itself(key).await?;
        }
        Ok(false)
    }

    /// Destroys the material of a key and then its rows: whoever finds an old copy of the rows cannot unwrap them any more.
    /// False when its deletion was cancelled, or put off, since it was looked at.
    pub(crate) async fn destroy(&self, key: &KeyRecord, now: Timestamp) -> Result<bool, KmsError> {
        let _turn = self.turn().await;
        let Some(entry) = self.find(&key.account, &key.id) else { return Ok(false) };
        let key = &*entry.record;
        if key.set_state != KeyState::PendingDeletion || key.deletion.is_none_or(|(at, _)| at > now) {
            return Ok(false);
        }
        for name in key.materials.iter().filter_map(|material| material.erasure.as_deref()).chain([key.id.as_str()]) {
            self.backend.destroy(&key.id, name).await?;
        }
        self.bucket_keys.clear();
        self.last_uses.lock().remove(&(key.account.clone(), key.id.clone()));
        let mut changes: Vec<Change> = self
            .aliases_of(key)
            .into_iter()
            .map(|name| Change::RemoveAlias { account: key.account.clone(), name })
            .collect();
        changes.extend(self.grants_of(key).iter().map(|grant| Change::RemoveGrant {
            account: key.account.clone(),
            key_id: key.id.clone(),
            id: grant.id.clone(),
        }));
        // The key's row goes last, so that an interrupted destruction is found and finished.
        changes.push(Change::RemoveKey { account: key.account.clone(), id: key.id.clone() });
        let record = self.service_record("DeleteKey", &key.account, &key.id)?;
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(crate::traits::MAX_CHANGES));
            let record = record.as_ref().filter(|_| rest.is_empty());
            self.commit(std::mem::replace(&mut changes, rest), record).await?;
        }
        self.happened(record);
        tracing::warn!(key = key.id, "a KMS key was destroyed at the end of its waiting period");
        Ok(true)
    }
}
