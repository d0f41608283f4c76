//! The key management service: KMS keys with states and rotated material, and the key ring that issues and recovers data keys.
//! A key's material never leaves `backend`. Must never know S3's wire, a database or a file.

mod backend;
mod bucket_keys;
mod context;
mod domain;
mod error;
mod issue;
mod key;
mod ring;
mod traits;

pub use backend::{KeyBackend, SoftwareKeys};
pub use domain::{Domain, DomainHeader, RootKey, WrongRootKey};
pub use error::KmsError;
pub use issue::{Issued, KeySource, ObjectPlace};
pub use key::{AliasRecord, KeyManager, KeyRecord, KeyState, Material};
pub use ring::KeyRing;
pub use traits::{ErasureSecrets, KeyStore, KeyStoreError};
