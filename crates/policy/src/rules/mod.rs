//! What is refused when a policy is put, in AWS's words: stricter than reading what is stored. One entry for each kind of document.

mod bucket;
mod iam;
mod key;

pub use bucket::bucket_policy;
pub use iam::{identity_policy, session_policy, trust_policy};
pub use key::{key_policy, locks_out};

/// The largest documents. Bytes for buckets and keys; characters without white space for IAM: `counted_characters`.
/// Sources: S3 user guide, "Policies and permissions in Amazon S3"; KMS developer guide, "Key policies"; IAM user guide, "IAM and AWS
/// STS quotas".
pub mod size {
    pub const BUCKET: usize = 20 * 1024;
    pub const KEY: usize = 32 * 1024;
    pub const MANAGED: usize = 6144;
    /// Of a user's inline policies together.
    pub const USER_INLINE: usize = 2048;
    pub const GROUP_INLINE: usize = 5120;
    pub const ROLE_INLINE: usize = 10240;
    pub const TRUST: usize = 2048;
    pub const SESSION: usize = 2048;
}

/// The size of an IAM document as its quotas count it.
pub fn counted_characters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// Tab, line feed, carriage return and what Latin-1 prints. Source: IAM user guide, "IAM and AWS STS quotas".
pub(crate) fn is_plain(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
}
