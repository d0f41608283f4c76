//! New material for old keys. What older material encrypted stays readable.

use crate::{
    access::{Call, Needs},
    error::KmsError,
    key::{KeyRecord, KeyState, Origin, Rotation, RotationType},
    names::Found,
    ring::{DAY_MS, KeyRing},
};
use std::sync::Arc;
use tresor_model::{ChangeRecord, Timestamp};

/// Rotations on demand of one key. Source: the service model's text of RotateKeyOnDemand.
const MAX_ON_DEMAND: usize = 25;

impl KeyRecord {
    /// Errors: Unsupported for keys that cannot rotate by themselves.
    fn rotates(&self, found: &Found) -> Result<(), KmsError> {
        if !self.spec.is_symmetric() {
            return Err(KmsError::Unsupported(String::new()));
        }
        if self.origin == Origin::External {
            return Err(KmsError::Unsupported(format!(
                "{} origin is EXTERNAL which is not valid for this operation.",
                found.arn
            )));
        }
        Ok(())
    }
}

impl KeyRing {
    /// Errors: Unsupported, Disabled, InvalidState, those of the key's door.
    pub async fn set_rotation(&self, call: &Call<'_>, name: &str, period: Option<u32>) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        let mut call = call.clone();
        if let Some(days) = period {
            call.keys.set("kms:RotationPeriodInDays", days.to_string());
        }
        let mut found = self.admit_change(&call, name, Needs::Nothing)?;
        found.record().rotates(&found)?;
        let now = self.clock.now();
        found.record().demand(Needs::Use, &found.arn, now)?;
        let mut key = found.record().clone();
        key.rotation =
            period.map(|days| Rotation { period_days: days, next: now.plus_millis(u64::from(days) * DAY_MS) });
        found.entry.record = self.put(key, call.record(&found.arn).as_ref()).await?;
        Ok(found)
    }

    /// Errors: Unsupported, those of the key's door.
    pub fn rotation_status(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        let found = self.admit_by_id(call, name, Needs::Nothing)?;
        found.record().rotates(&found)?;
        Ok(found)
    }

    /// Errors: Unsupported, LimitExceeded, InvalidState when no imported material waits, those of the key's door.
    pub async fn rotate_on_demand(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        let mut found = self.admit_change(call, name, Needs::Nothing)?;
        if !found.record().spec.is_symmetric() {
            return Err(KmsError::Unsupported(String::new()));
        }
        found.record().demand(Needs::Use, &found.arn, self.clock.now())?;
        if found.record().rotations_on_demand() >= MAX_ON_DEMAND {
            return Err(KmsError::LimitExceeded(format!(
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: {}",
                found.arn
            )));
        }
        let record = call.record(&found.arn);
        found.entry.record = self.rotated(found.record(), RotationType::OnDemand, record.as_ref()).await?;
        Ok(found)
    }

    pub(crate) async fn rotate_by_itself(&self, key: &KeyRecord) -> Result<(), KmsError> {
        let _turn = self.turn().await;
        let key = self.describe(&self.arn(&key.account, &key.id)?)?;
        if key.rotation.is_some_and(|rotation| rotation.next <= self.clock.now()) && key.set_state == KeyState::Enabled
        {
            let record = self.service_record("RotateKey", &key.account, &key.id)?;
            self.rotated(&key, RotationType::Automatic, record.as_ref()).await?;
            self.happened(record);
        }
        Ok(())
    }

    /// The caller has its turn.
    async fn rotated(
        &self,
        key: &KeyRecord,
        by: RotationType,
        record: Option<&ChangeRecord>,
    ) -> Result<Arc<KeyRecord>, KmsError> {
        let now = self.clock.now();
        let mut key = key.clone();
        match key.origin {
            Origin::AwsKms => {
                let mut material = self.backend.generate(&key.id, key.spec, now).await?;
                material.rotation = Some(by);
                key.materials.push(material);
            }
            Origin::External => {
                let arn = self.arn(&key.account, &key.id)?;
                let none = || {
                    KmsError::InvalidState(format!("No available key material pending rotation for the key: {arn}."))
                };
                let waiting = key.materials.iter_mut().find(|material| material.pending).ok_or_else(none)?;
                waiting.pending = false;
                waiting.created = now;
                waiting.rotation = Some(by);
            }
        }
        if by == RotationType::Automatic
            && let Some(rotation) = &mut key.rotation
        {
            rotation.next = now.plus_millis(u64::from(rotation.period_days) * DAY_MS);
        }
        self.put(key, record).await
    }

    /// For the command line of the machine's owner: no policy is asked. Errors: Disabled, InvalidState, Unsupported.
    pub async fn rotate_locally(&self, call: &Call<'_>, found: &Found) -> Result<Arc<KeyRecord>, KmsError> {
        let _turn = self.turn().await;
        let key = self.describe(&found.arn)?;
        key.rotates(found)?;
        key.demand(Needs::Use, &found.arn, self.clock.now())?;
        self.rotated(&key, RotationType::OnDemand, call.record(&found.arn).as_ref()).await
    }

    /// When the next rotation by itself is due; nothing while the key is pending deletion.
    pub fn next_rotation(&self, key: &KeyRecord) -> Option<(u32, Timestamp)> {
        let rotation = key.rotation.filter(|_| key.set_state != KeyState::PendingDeletion)?;
        Some((rotation.period_days, rotation.next))
    }
}
