//! AWS owned keys: one an account, for SSE-S3 and DSSE's outer layer. No client can name, list, use or destroy them; they are made on
//! first use, rotate yearly, and have no erasure secret: what is everybody's default must not hang on a file that can be lost.
//!
//! Opened materials are read on every request, so they stand in a snapshot that is read without a lock.

use crate::{
    domain::Domain,
    error::KmsError,
    ring::{DAY_MS, KeyRing, YEAR_DAYS},
    traits::Change,
};
use arc_swap::ArcSwap;
use std::{collections::HashMap, fmt, sync::Arc};
use tresor_envelope::{OwnedLayer, hkdf, owned_aad, unwrap, wrap};
use tresor_memory::LockedKey;
use tresor_model::{AccountId, Entropy, Timestamp};
use zeroize::Zeroizing;

/// The key of one account.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct OwnedKeyRecord {
    /// A UUID, so that rows can say what an object hangs on.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub created: Timestamp,
    /// The last one encrypts, all decrypt.
    #[n(3)]
    pub materials: Vec<OwnedMaterialRecord>,
    #[n(4)]
    pub next_rotation: Timestamp,
}

/// One generation of its material, wrapped.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct OwnedMaterialRecord {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 32],
    #[n(1)]
    pub created: Timestamp,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for OwnedMaterialRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedMaterialRecord({})", hex::encode(self.id))
    }
}

/// An opened material.
pub(crate) struct OwnedMaterial {
    pub key_id: String,
    pub id: [u8; 32],
    secret: LockedKey,
}

impl OwnedMaterial {
    pub(crate) fn wrap(
        &self,
        entropy: &dyn Entropy,
        layer: OwnedLayer,
        binding: &[u8; 32],
        secret: &[u8; 32],
    ) -> Vec<u8> {
        wrap(self.secret.expose(), entropy, &owned_aad(&self.id, layer, binding), secret)
    }
    /// Errors: InvalidCiphertext.
    pub(crate) fn unwrap(
        &self,
        layer: OwnedLayer,
        binding: &[u8; 32],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        Ok(unwrap(self.secret.expose(), &owned_aad(&self.id, layer, binding), wrapped)?)
    }
}

#[derive(Clone, Default)]
struct Snapshot {
    records: HashMap<AccountId, Arc<OwnedKeyRecord>>,
    current: HashMap<AccountId, Arc<OwnedMaterial>>,
    by_id: HashMap<[u8; 32], Arc<OwnedMaterial>>,
}

/// The owned keys of all accounts.
pub(crate) struct OwnedKeys {
    wrapping: LockedKey,
    /// Replaced as a whole by the ring's commits, which go one after the other.
    snapshot: ArcSwap<Snapshot>,
}

impl OwnedKeys {
    /// Errors: Unavailable for material that does not open.
    pub(crate) fn open(domain: &Domain, records: Vec<OwnedKeyRecord>) -> Result<Self, KmsError> {
        let this = Self { wrapping: domain.owned(), snapshot: ArcSwap::default() };
        let mut snapshot = Snapshot::default();
        for record in records {
            this.add(&mut snapshot, record)?;
        }
        this.snapshot.store(Arc::new(snapshot));
        Ok(this)
    }

    fn add(&self, snapshot: &mut Snapshot, record: OwnedKeyRecord) -> Result<(), KmsError> {
        for stored in &record.materials {
            if snapshot.by_id.contains_key(&stored.id) {
                continue;
            }
            let damaged =
                || KmsError::Unavailable(format!("the owned key of account {} does not open", record.account));
            let plain = unwrap(&self.kek(&record.account), &stored.id, &stored.wrapped).map_err(|_| damaged())?;
            let secret = LockedKey::new(plain.as_slice().try_into().map_err(|_| damaged())?);
            let material = Arc::new(OwnedMaterial { key_id: record.id.clone(), id: stored.id, secret });
            snapshot.by_id.insert(stored.id, material);
        }
        let current = record.materials.last().and_then(|last| snapshot.by_id.get(&last.id)).cloned();
        if let Some(current) = current {
            snapshot.current.insert(record.account.clone(), current);
        }
        snapshot.records.insert(record.account.clone(), Arc::new(record));
        Ok(())
    }

    fn kek(&self, account: &AccountId) -> Zeroizing<[u8; 32]> {
        let mut kek = Zeroizing::new([0; 32]);
        hkdf(self.wrapping.expose(), &[], &[b"tresor/v1/owned-material", account.as_str().as_bytes()], &mut kek[..]);
        kek
    }

    /// The material that an envelope names. Errors: InvalidCiphertext.
    pub(crate) fn material(&self, id: &[u8; 32]) -> Result<Arc<OwnedMaterial>, KmsError> {
        self.snapshot.load().by_id.get(id).cloned().ok_or(KmsError::InvalidCiphertext)
    }

    /// Shows a record that was stored; only the ring's commits call it. Errors: Unavailable for material that does not open.
    pub(crate) fn publish(&self, record: OwnedKeyRecord) -> Result<(), KmsError> {
        let mut next = (**self.snapshot.load()).clone();
        self.add(&mut next, record)?;
        self.snapshot.store(Arc::new(next));
        Ok(())
    }

    fn current(&self, account: &AccountId) -> Option<Arc<OwnedMaterial>> {
        self.snapshot.load().current.get(account).cloned()
    }

    fn generate(&self, account: &AccountId, now: Timestamp, entropy: &dyn Entropy) -> OwnedMaterialRecord {
        let (mut id, mut secret) = ([0; 32], Zeroizing::new([0; 32]));
        entropy.fill(&mut id);
        entropy.fill(&mut secret[..]);
        let wrapped = wrap(&self.kek(account), entropy, &id, &secret[..]);
        OwnedMaterialRecord { id, created: now, wrapped }
    }
}

impl KeyRing {
    /// The material that encrypts for an account; its key is made on first use. Errors: Unavailable.
    pub(crate) async fn owned_material(&self, account: &AccountId) -> Result<Arc<OwnedMaterial>, KmsError> {
        if let Some(current) = self.owned.current(account) {
            return Ok(current);
        }
        let _turn = self.turn().await;
        if let Some(current) = self.owned.current(account) {
            return Ok(current);
        }
        let now = self.clock.now();
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let record = OwnedKeyRecord {
            id: uuid::Builder::from_random_bytes(random).into_uuid().to_string(),
            account: account.clone(),
            created: now,
            materials: vec![self.owned.generate(account, now, &*self.entropy)],
            next_rotation: now.plus_millis(u64::from(YEAR_DAYS) * DAY_MS),
        };
        // Owned keys are nobody's: as on AWS, no account's trail shows them.
        self.commit(vec![Change::PutOwned(record)], None).await?;
        let none = || KmsError::Unavailable(format!("the owned key of account {account} has no material"));
        self.owned.current(account).ok_or_else(none)
    }

    /// New material for owned keys whose year is over. One that fails keeps no other from it.
    pub(crate) async fn rotate_owned(&self, now: Timestamp) {
        let accounts: Vec<AccountId> = {
            let snapshot = self.owned.snapshot.load();
            let due = snapshot.records.values().filter(|record| record.next_rotation <= now);
            due.map(|record| record.account.clone()).collect()
        };
        for account in accounts {
            if let Err(error) = self.rotate_owned_of(&account, now).await {
                self.not_tended(&format!("the owned key of account {account}"), &error);
            }
        }
    }

    async fn rotate_owned_of(&self, account: &AccountId, now: Timestamp) -> Result<(), KmsError> {
        let _turn = self.turn().await;
        let stored = self.owned.snapshot.load().records.get(account).cloned();
        let Some(stored) = stored.filter(|record| record.next_rotation <= now) else { return Ok(()) };
        let mut record = OwnedKeyRecord::clone(&stored);
        record.materials.push(self.owned.generate(account, now, &*self.entropy));
        record.next_rotation = now.plus_millis(u64::from(YEAR_DAYS) * DAY_MS);
        // Owned keys are nobody's: as on AWS, no account's trail shows them.
        self.commit(vec![Change::PutOwned(record)], None).await
    }
}
