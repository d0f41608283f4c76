//! From what was asked and what the bucket defaults to, to what will happen: no option is left afterwards.

use super::{configuration::Encryption, intent::SseIntent};
use crate::{error::S3Error, serve::RequestContext};
use tresor_kms::KeySource;
use tresor_storage::{Bucket, ETagRule};

/// Applies the bucket's default and its blocked encryption types; resolves the key's name to its ARN.
/// Errors: AccessDenied when the bucket blocks SSE-C, KMS.NotFoundException, InvalidArgument for KMS without SigV4.
pub(crate) async fn resolve(cx: &RequestContext<'_>, bucket: &Bucket, intent: SseIntent) -> Result<KeySource, S3Error> {
    let default = Encryption::of(cx.gateway, bucket).await?;
    let (key, context, bucket_key, double) = match intent {
        SseIntent::S3 => return Ok(KeySource::S3Managed),
        SseIntent::Customer(_) if default.blocks_customer_keys => {
            return Err(S3Error::forbidden(
                "Server Side Encryption with Customer provided keys is blocked for this bucket by its BlockedEncryptionTypes configuration.",
            ));
        }
        SseIntent::Customer(key) => return Ok(KeySource::Customer(key)),
        // Without a key id it is the account's aws/s3 key, whatever the bucket's default names: docs/compatibility.md has the sources.
        // `derive::Asked::named_key` tells policies the same.
        SseIntent::Kms { key, context, bucket_key } => (key, context, bucket_key.unwrap_or(default.bucket_key), false),
        SseIntent::Dsse { key, context } => (key, context, false, true),
        SseIntent::Unspecified { bucket_key } => match &default.algorithm {
            super::configuration::Algorithm::S3 => return Ok(KeySource::S3Managed),
            super::configuration::Algorithm::Kms(key) => {
                (key.clone(), Vec::new(), bucket_key.unwrap_or(default.bucket_key), false)
            }
            super::configuration::Algorithm::Dsse(key) => (key.clone(), Vec::new(), false, true),
        },
    };
    require_sigv4(cx)?;
    let key = cx.gateway.keys.resolve(cx.caller, key.as_deref()).await?;
    Ok(if double { KeySource::Dsse { key, context } } else { KeySource::Kms { key, context, bucket_key } })
}

/// KMS keys are used on behalf of a caller who signed with Signature Version 4, as AWS demands.
pub(crate) fn require_sigv4(cx: &RequestContext<'_>) -> Result<(), S3Error> {
    if cx.auth.version == tresor_front::SigVersion::V4 {
        return Ok(());
    }
    Err(S3Error::invalid_argument(
        "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
        "Authorization",
        Some("null"),
    ))
}

/// The ETag is the MD5 of the plaintext for SSE-S3 only.
pub(crate) fn etag_rule(source: &KeySource) -> ETagRule {
    match source {
        KeySource::S3Managed => ETagRule::Md5,
        KeySource::Kms { .. } | KeySource::Dsse { .. } | KeySource::Customer(_) => ETagRule::Opaque,
    }
}
