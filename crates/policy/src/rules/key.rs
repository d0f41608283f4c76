//! PutKeyPolicy and CreateKey: `MalformedPolicyDocumentException`.

use super::is_plain;
use crate::{
    document::{Form, MalformedPolicy, Policy, Question},
    syntax::{self, Document, Fault},
};

/// Reads a key policy. Errors: MalformedPolicy in KMS's words where they are known. Size, existence of principals and the lock-out
/// check are KMS's own.
pub fn key_policy(text: &str) -> Result<Policy, MalformedPolicy> {
    if !is_plain(text) {
        return Err(MalformedPolicy::because("Policy contains characters that are not allowed."));
    }
    let json = syntax::json(text).map_err(Fault::of_s3)?;
    let document = Document::read(&json).map_err(Fault::of_s3)?;
    let policy = Policy::compile(text, &document, Form::Resource).map_err(Fault::of_s3)?;
    let conditions = document.statements.iter().flat_map(|parts| parts.conditions());
    for (operator, key, _) in conditions {
        let all = operator.split_once(':').is_some_and(|(set, _)| set.eq_ignore_ascii_case("ForAllValues"));
        // Source: KMS developer guide, "kms:EncryptionContext:context-key".
        if all && key.to_ascii_lowercase().starts_with("kms:encryptioncontext:") {
            return Err(MalformedPolicy::because(
                "OverlyPermissiveCondition:EncryptionContext: Using the ForAllValues set operator with a single-valued condition key matches requests without the specified encryption context or with an unspecified encryption context. To fix, remove ForAllValues.",
            ));
        }
    }
    Ok(policy)
}

/// Whether a new key policy would keep its author from changing it again; `question` is his `kms:PutKeyPolicy`.
pub fn locks_out(policy: &Policy, question: &Question<'_>) -> bool {
    let judged = policy.judge(question);
    judged.deny.is_some() || judged.allow.is_none()
}
