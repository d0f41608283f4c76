//! The key management service: KMS keys with states and rotated material, and the key ring that issues and recovers data keys.
//! A key's material never leaves `backend`. Must never know S3's wire, a database or a file.

mod access;
mod aliases;
mod backend;
mod bucket_keys;
mod ciphertext;
mod context;
mod crypto;
mod domain;
mod error;
mod grants;
mod import;
mod inspect;
mod issue;
mod key;
mod last_use;
mod lifecycle;
mod names;
mod new_key;
mod owned;
mod ring;
mod rotation;
mod spec;
mod traits;
mod usage;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;

pub use access::{Call, Needs};
pub use backend::{KeyBackend, KeyOutput, KeyWork, SoftwareKeys};
pub use domain::{Domain, DomainHeader, RootKey, WrongRootKey};
pub use error::KmsError;
pub use grants::{GRANT_OPERATIONS, NewGrant};
pub use import::{Import, ImportParameters};
pub use inspect::{Inspected, erasure_names};
pub use issue::{Issued, KeySource, ObjectPlace};
pub use key::{
    AliasRecord, GrantRecord, KeyManager, KeyRecord, KeyState, KeyUse, LastUse, Material, Origin, Rotation,
    RotationType,
};
pub use names::Found;
pub use new_key::NewKey;
pub use owned::{OwnedKeyRecord, OwnedMaterialRecord};
pub use ring::{KeyRing, KeyRingParts};
pub use spec::{KeySpec, KeyUsage};
pub use traits::{
    Change, Dependents, ErasureSecrets, Identities, Kept, KeyStore, KeyStoreError, MAX_CHANGES, Recording,
    ServiceEvent, Witness,
};
pub use usage::{Decrypted, ReEncrypt, SYMMETRIC};
