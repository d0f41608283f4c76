//! Users, groups, roles, managed policies and identity providers as they are stored.

use std::fmt;
use tresor_model::{AccountId, ChangeRecord, PARTITION, Timestamp};
use tresor_policy::size;

/// What an identity is. Only users and roles are principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Kind {
    #[n(0)]
    User,
    #[n(1)]
    Group,
    #[n(2)]
    Role,
}

impl Kind {
    /// As ARNs and most texts name it: `user`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
        }
    }
    /// `User`
    pub const fn title(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
        }
    }
    /// The first letters of unique ids. Source: IAM user guide, "IAM identifiers".
    pub const fn id_prefix(self) -> &'static str {
        match self {
            Self::User => "AIDA",
            Self::Group => "AGPA",
            Self::Role => "AROA",
        }
    }
    pub const fn max_name(self) -> usize {
        match self {
            Self::User | Self::Role => 64,
            Self::Group => 128,
        }
    }
    /// Characters of all inline policies, white space not counted.
    pub const fn inline_size(self) -> usize {
        match self {
            Self::User => size::USER_INLINE,
            Self::Group => size::GROUP_INLINE,
            Self::Role => size::ROLE_INLINE,
        }
    }
}

/// An access key; its secret is sealed.
#[derive(Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct AccessKeyRecord {
    #[n(0)]
    pub id: String,
    /// Empty for a key that the configuration declares.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    #[n(2)]
    pub active: bool,
    #[n(3)]
    pub created: Timestamp,
}

impl fmt::Debug for AccessKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeyRecord({})", self.id)
    }
}

/// What only a role has.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct RoleDetail {
    #[n(0)]
    pub description: Option<String>,
    #[n(1)]
    pub max_session_seconds: u64,
    /// The trust policy.
    #[n(2)]
    pub trust: String,
}

/// A user, group or role.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct IdentityRecord {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub name: String,
    /// `/` or `/division/`.
    #[n(3)]
    pub path: String,
    /// `AIDA...`: never given to another one.
    #[n(4)]
    pub id: String,
    #[n(5)]
    pub created: Timestamp,
    #[n(6)]
    pub tags: Vec<(String, String)>,
    /// Names and documents, by name.
    #[n(7)]
    pub inline: Vec<(String, String)>,
    /// ARNs of managed policies.
    #[n(8)]
    pub attached: Vec<String>,
    /// The ARN of the managed policy that bounds it.
    #[n(9)]
    pub boundary: Option<String>,
    /// Names of a user's groups.
    #[n(10)]
    pub groups: Vec<String>,
    /// A user's access keys.
    #[n(11)]
    pub keys: Vec<AccessKeyRecord>,
    #[n(12)]
    pub role: Option<RoleDetail>,
}

impl IdentityRecord {
    /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`
    pub fn arn(&self) -> String {
        arn(&self.account, self.kind.name(), &self.path, &self.name)
    }
}

/// The ARN of something in an account: `arn:aws:iam::ACCOUNT:KIND/PATH/NAME`.
pub fn arn(account: &AccountId, kind: &str, path: &str, name: &str) -> String {
    format!("arn:{PARTITION}:iam::{account}:{kind}{path}{name}")
}

/// One version of a managed policy: `vN`.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct PolicyVersion {
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub text: String,
    #[n(2)]
    pub created: Timestamp,
}

/// A managed policy.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct PolicyRecord {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub path: String,
    /// `ANPA...`
    #[n(3)]
    pub id: String,
    #[n(4)]
    pub created: Timestamp,
    #[n(5)]
    pub updated: Timestamp,
    #[n(6)]
    pub description: Option<String>,
    /// At least one, ascending.
    #[n(7)]
    pub versions: Vec<PolicyVersion>,
    /// The number of the version that counts.
    #[n(8)]
    pub default: u32,
    /// Numbers are never used again.
    #[n(9)]
    pub next: u32,
    #[n(10)]
    pub tags: Vec<(String, String)>,
}

impl PolicyRecord {
    pub fn arn(&self) -> String {
        arn(&self.account, "policy", &self.path, &self.name)
    }
    pub fn version(&self, number: u32) -> Option<&PolicyVersion> {
        self.versions.iter().find(|version| version.number == number)
    }
    /// The document that counts.
    pub fn text(&self) -> &str {
        self.version(self.default).map(|version| version.text.as_str()).unwrap_or_default()
    }
}

/// An identity provider of OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct ProviderRecord {
    #[n(0)]
    pub account: AccountId,
    /// Without `https://`.
    #[n(1)]
    pub url: String,
    #[n(2)]
    pub created: Timestamp,
    #[n(3)]
    pub client_ids: Vec<String>,
    #[n(4)]
    pub thumbprints: Vec<String>,
    #[n(5)]
    pub tags: Vec<(String, String)>,
}

impl ProviderRecord {
    pub fn arn(&self) -> String {
        format!("arn:{PARTITION}:iam::{}:oidc-provider/{}", self.account, self.url)
    }
}

/// One row as it is kept.
#[derive(Clone, Debug)]
pub enum KeptRow {
    Identity(IdentityRecord),
    Policy(PolicyRecord),
    Provider(ProviderRecord),
}

/// One change of one row.
#[derive(Clone, Debug)]
pub enum IdentityChange {
    Put(IdentityRecord),
    Remove {
        kind: Kind,
        account: AccountId,
        name: String,
    },
    PutPolicy(PolicyRecord),
    /// By the path and name.
    RemovePolicy {
        account: AccountId,
        place: String,
    },
    PutProvider(ProviderRecord),
    RemoveProvider {
        account: AccountId,
        url: String,
    },
}

/// Where identities are kept. Durable on return.
#[async_trait::async_trait]
pub trait IdentityStore: Send + Sync + fmt::Debug {
    /// Every row by its name, each read for itself: what is wrong with one hides no other. Errors: Unavailable when they cannot be
    /// listed, and for a row that is damaged.
    async fn rows(&self) -> Result<Vec<(String, Result<KeptRow, crate::IdentityError>)>, crate::IdentityError>;
    /// All or nothing, with the record of what changes them. Errors: Unavailable.
    async fn commit(
        &self,
        changes: &[IdentityChange],
        record: Option<&ChangeRecord>,
    ) -> Result<(), crate::IdentityError>;
}
