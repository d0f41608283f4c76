//! KMS keys, aliases and grants as they are stored.

use crate::spec::{KeySpec, KeyUsage};
use std::fmt;
use tresor_model::{AccountId, Timestamp};

/// A key's state. `PendingImport` is also what an imported key is in while any of its material is missing or expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum KeyState {
    #[n(0)]
    Enabled,
    #[n(1)]
    Disabled,
    #[n(2)]
    PendingDeletion,
    #[n(3)]
    PendingImport,
}

impl KeyState {
    /// `KeyState` of DescribeKey.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum KeyManager {
    #[n(0)]
    Customer,
    /// AWS managed: `alias/aws/s3`.
    #[n(1)]
    Aws,
}

impl KeyManager {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Aws => "AWS",
        }
    }
}

/// Where a key's material comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Origin {
    #[default]
    #[n(0)]
    AwsKms,
    /// Imported.
    #[n(1)]
    External,
}

impl Origin {
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwsKms => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// Why a material became the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum RotationType {
    #[n(0)]
    Automatic,
    #[n(1)]
    OnDemand,
}

impl RotationType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// One generation of a key's material, wrapped.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Material {
    /// 64 hex digits, as `KeyMaterialId`.
    #[n(0)]
    pub id: String,
    /// When it became current, or was first imported.
    #[n(1)]
    pub created: Timestamp,
    /// Empty when imported material was deleted or has expired.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
    #[n(3)]
    pub rotation: Option<RotationType>,
    #[n(4)]
    pub description: Option<String>,
    /// Imported material that expires; nothing for one that does not.
    #[n(5)]
    pub valid_to: Option<Timestamp>,
    /// Imported, and not yet current: the next rotation on demand makes it so.
    #[n(6)]
    #[cbor(default)]
    pub pending: bool,
    /// The name of its own erasure secret; material without one hangs on the key's.
    #[n(7)]
    pub erasure: Option<String>,
}

impl Material {
    /// Without its bytes yet.
    pub(crate) fn named(id: String, created: Timestamp) -> Self {
        Self {
            id,
            created,
            wrapped: Vec::new(),
            rotation: None,
            description: None,
            valid_to: None,
            pending: false,
            erasure: None,
        }
    }
    /// Whether it can be used at this time.
    pub fn is_present(&self, now: Timestamp) -> bool {
        !self.wrapped.is_empty() && self.valid_to.is_none_or(|until| until > now)
    }
    /// Whether it is deleted, but its erasure secret is not known to be destroyed yet.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.wrapped.is_empty() && self.erasure.is_some()
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({})", self.id)
    }
}

/// Automatic rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Rotation {
    #[n(0)]
    pub period_days: u32,
    #[n(1)]
    pub next: Timestamp,
}

#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct KeyRecord {
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub description: String,
    #[n(3)]
    pub manager: KeyManager,
    /// As it was set; `state` tells what it is now.
    #[n(4)]
    pub set_state: KeyState,
    #[n(5)]
    pub created: Timestamp,
    /// The last one that is not pending encrypts, all decrypt. Empty before the first import.
    #[n(6)]
    pub materials: Vec<Material>,
    #[n(7)]
    #[cbor(default)]
    pub spec: KeySpec,
    #[n(8)]
    #[cbor(default)]
    pub usage: KeyUsage,
    #[n(9)]
    #[cbor(default)]
    pub origin: Origin,
    /// When the key will be destroyed, and the window in days it was given.
    #[n(10)]
    pub deletion: Option<(Timestamp, u32)>,
    #[n(11)]
    #[cbor(default)]
    pub tags: Vec<(String, String)>,
    /// Nothing stands for the default policy.
    #[n(12)]
    pub policy: Option<String>,
    #[n(13)]
    pub rotation: Option<Rotation>,
}

impl KeyRecord {
    /// The material that encrypts.
    pub fn current(&self) -> Option<&Material> {
        self.materials.iter().rev().find(|material| !material.pending)
    }
    pub fn state(&self, now: Timestamp) -> KeyState {
        let imported = self.origin == Origin::External;
        let complete = !self.materials.is_empty() && self.materials.iter().all(|material| material.is_present(now));
        match self.set_state {
            KeyState::PendingDeletion => KeyState::PendingDeletion,
            _ if imported && !complete => KeyState::PendingImport,
            state => state,
        }
    }
    /// Rotations asked for by a caller.
    pub fn rotations_on_demand(&self) -> usize {
        self.materials.iter().filter(|material| material.rotation == Some(RotationType::OnDemand)).count()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct AliasRecord {
    /// `alias/NAME`
    #[n(0)]
    pub name: String,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub key_id: String,
    #[n(3)]
    #[cbor(default)]
    pub created: Timestamp,
    #[n(4)]
    #[cbor(default)]
    pub updated: Timestamp,
}

/// A permission to use a key, given by someone who may.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct GrantRecord {
    /// 64 hex digits.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub key_id: String,
    #[n(3)]
    pub name: Option<String>,
    #[n(4)]
    pub created: Timestamp,
    /// An ARN; an account's root ARN stands for everyone in it whose own policies allow.
    #[n(5)]
    pub grantee: String,
    #[n(6)]
    pub retiring: Option<String>,
    /// The root ARN of the account that made it.
    #[n(7)]
    pub issuer: String,
    /// Sorted.
    #[n(8)]
    pub operations: Vec<String>,
    /// `EncryptionContextEquals`, sorted by key.
    #[n(9)]
    pub context_equals: Option<Vec<(String, String)>>,
    /// `EncryptionContextSubset`, sorted by key.
    #[n(10)]
    pub context_subset: Option<Vec<(String, String)>>,
}

/// What a key was last used for.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct LastUse {
    #[n(0)]
    pub operation: String,
    #[n(1)]
    pub at: Timestamp,
    #[n(2)]
    pub request_id: String,
}

/// The row of a key's last use.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct KeyUse {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub key_id: String,
    #[n(2)]
    pub last: LastUse,
}
