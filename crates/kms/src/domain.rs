//! The store's domain key: random, wrapped under the root key, and the root of every other server-held secret.

use std::fmt;
use subtle::ConstantTimeEq;
use tresor_envelope::{RecordKey, hkdf, unwrap, wrap};
use tresor_memory::LockedKey;
use tresor_model::Entropy;
use zeroize::Zeroizing;

/// The key that a provider gives: 32 bytes that never lie in clear beside the data.
pub struct RootKey(LockedKey);

impl RootKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(LockedKey::new(&Zeroizing::new(bytes)))
    }
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut bytes[..]);
        Self(LockedKey::new(&bytes))
    }
    /// For writing the root key file, and for nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
    /// An HKDF output that tells a wrong root key at once and helps nobody to guess the right one.
    fn check(&self, store: &[u8; 16]) -> [u8; 32] {
        let mut check = [0; 32];
        hkdf(self.expose(), store, &[b"tresor/v1/root-check"], &mut check);
        check
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(32 bytes)")
    }
}

/// The root key is not the one of this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the root key is not the one this store was made with")]
pub struct WrongRootKey;

/// What lies in the data directory: nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct DomainHeader {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub store: [u8; 16],
    #[cbor(n(1), with = "minicbor::bytes")]
    check: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    wrapped: Vec<u8>,
}

/// The opened domain key.
pub struct Domain(LockedKey);

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Domain")
    }
}

const LABEL: &[u8] = b"tresor/v1/domain";

impl Domain {
    /// Draws the domain key of a new store.
    pub fn create(root: &RootKey, store: [u8; 16], entropy: &dyn Entropy) -> (Self, DomainHeader) {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut key[..]);
        let wrapped = wrap(root.expose(), entropy, &[LABEL, &store].concat(), &key[..]);
        (Self(LockedKey::new(&key)), DomainHeader { store, check: root.check(&store), wrapped })
    }

    /// Errors: WrongRootKey.
    pub fn open(root: &RootKey, header: &DomainHeader) -> Result<Self, WrongRootKey> {
        if !bool::from(root.check(&header.store).ct_eq(&header.check)) {
            return Err(WrongRootKey);
        }
        let opened =
            unwrap(root.expose(), &[LABEL, &header.store].concat(), &header.wrapped).map_err(|_| WrongRootKey)?;
        Ok(Self(LockedKey::new(opened.as_slice().try_into().map_err(|_| WrongRootKey)?)))
    }

    /// The same domain key under a new root key. Nothing else of the store changes. Errors: WrongRootKey for the current one.
    pub fn rewrap(
        current: &RootKey,
        new: &RootKey,
        header: &DomainHeader,
        entropy: &dyn Entropy,
    ) -> Result<DomainHeader, WrongRootKey> {
        let domain = Self::open(current, header)?;
        let wrapped = wrap(new.expose(), entropy, &[LABEL, &header.store].concat(), domain.0.expose());
        Ok(DomainHeader { store: header.store, check: new.check(&header.store), wrapped })
    }

    fn derived(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        hkdf(self.0.expose(), &[], &[label], &mut out[..]);
        out
    }
    fn locked(&self, label: &[u8]) -> LockedKey {
        LockedKey::new(&self.derived(label))
    }
    /// Authenticates metadata records.
    pub fn record_key(&self) -> RecordKey {
        RecordKey::derive(&self.derived(b"tresor/v1/domain/records"))
    }
    /// Root of the keys that seal entity tags.
    pub fn index_root(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"tresor/v1/domain/index")
    }
    pub(crate) fn customer_secret(&self) -> LockedKey {
        self.locked(b"tresor/v1/domain/sse-c")
    }
    /// What wrapped for every account before there were owned keys; it only opens.
    pub(crate) fn s3_managed(&self) -> LockedKey {
        self.locked(b"tresor/v1/domain/sse-s3")
    }
    /// Makes the key that signs digests of the audit trail.
    pub fn audit_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"tresor/v1/domain/audit")
    }
    pub(crate) fn tokens(&self) -> LockedKey {
        self.locked(b"tresor/v1/domain/kms-tokens")
    }
    /// Seals the secrets of access keys.
    pub fn access_keys(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"tresor/v1/domain/access-keys")
    }
    /// Seals session tokens.
    pub fn sessions(&self) -> Zeroizing<[u8; 32]> {
        self.derived(b"tresor/v1/domain/sessions")
    }
    pub(crate) fn kms(&self) -> LockedKey {
        self.locked(b"tresor/v1/domain/kms")
    }
    /// Wraps the materials of AWS owned keys.
    pub(crate) fn owned(&self) -> LockedKey {
        self.locked(b"tresor/v1/domain/kms-owned")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Entropy that never repeats within a test.
    #[derive(Debug, Default)]
    pub(crate) struct Counting(std::sync::atomic::AtomicU64);
    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            hkdf(&n.to_be_bytes(), &[], &[b"test"], out);
        }
    }

    #[test]
    fn only_the_right_root_key_opens_a_domain() {
        let entropy = Counting::default();
        let root = RootKey::generate(&entropy);
        let (domain, header) = Domain::create(&root, [1; 16], &entropy);
        assert_eq!(Domain::open(&root, &header).unwrap().0.expose(), domain.0.expose());
        assert_eq!(Domain::open(&RootKey::generate(&entropy), &header).unwrap_err(), WrongRootKey);
        let moved = DomainHeader { store: [2; 16], ..header };
        assert_eq!(Domain::open(&root, &moved).unwrap_err(), WrongRootKey);
    }
}
