//! KMS keys and aliases as they are stored.

use std::fmt;
use tresor_model::{AccountId, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum KeyState {
    #[n(0)]
    Enabled,
    #[n(1)]
    Disabled,
}

impl KeyState {
    /// `KeyState` of DescribeKey.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
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

/// One generation of a key's material, wrapped.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Material {
    /// 64 hex digits, as `KeyMaterialId`.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub created: Timestamp,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({})", self.id)
    }
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
    #[n(4)]
    pub state: KeyState,
    #[n(5)]
    pub created: Timestamp,
    /// Never empty; the last one encrypts, all decrypt.
    #[n(6)]
    pub materials: Vec<Material>,
}

impl KeyRecord {
    /// The material that encrypts.
    pub fn current(&self) -> Option<&Material> {
        self.materials.last()
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
}
