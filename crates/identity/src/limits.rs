//! How much of everything there may be. Source: IAM user guide, "IAM and AWS STS quotas"; the defaults of AWS. Sizes of policies stand in
//! `tresor_policy::size`.

pub const USERS_PER_ACCOUNT: usize = 5000;
pub const GROUPS_PER_ACCOUNT: usize = 300;
pub const ROLES_PER_ACCOUNT: usize = 1000;
pub const POLICIES_PER_ACCOUNT: usize = 1500;
pub const PROVIDERS_PER_ACCOUNT: usize = 100;
pub const GROUPS_PER_USER: usize = 10;
pub const ACCESS_KEYS_PER_USER: usize = 2;
/// Managed policies attached to one user, group or role.
pub const ATTACHED_POLICIES: usize = 10;
pub const VERSIONS_PER_POLICY: usize = 5;
pub const TAGS: usize = 50;
pub const CLIENT_IDS_PER_PROVIDER: usize = 100;
pub const THUMBPRINTS_PER_PROVIDER: usize = 5;
/// Managed policies passed as session policies.
pub const SESSION_POLICY_ARNS: usize = 10;
/// Bytes of what a session carries, before it is sealed: AWS's packed size has no public number.
pub const PACKED_SESSION_SIZE: usize = 4096;
pub const SESSION_TAGS: usize = 50;
/// Opened sessions and compiled session policies that are kept; beyond it they are opened again.
pub const CACHED_SESSIONS: usize = 4096;
/// Seconds that a role's session lasts when nothing is said, at least, and at most when the role says nothing.
pub const ROLE_SESSION_SECONDS: u64 = 3600;
pub const MIN_SESSION_SECONDS: u64 = 900;
pub const MAX_ROLE_SESSION_SECONDS: u64 = 43_200;
/// Seconds that a session of GetSessionToken and GetFederationToken lasts when nothing is said, and at most.
pub const USER_SESSION_SECONDS: u64 = 43_200;
pub const MAX_USER_SESSION_SECONDS: u64 = 129_600;
/// A root user's sessions end earlier.
pub const MAX_ROOT_SESSION_SECONDS: u64 = 3600;
/// A role that was reached from another role's session.
pub const MAX_CHAINED_SESSION_SECONDS: u64 = 3600;
