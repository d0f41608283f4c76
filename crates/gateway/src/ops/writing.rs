//! What PutObject and CopyObject share: issuing a key for a new object and storing a body under it.

use crate::{
    acl::{AclRules, RequestedAcl},
    body::{Checksums, DigestsLater},
    error::S3Error,
    fields::Fields,
    serve::RequestContext,
    sse::{intent::SseIntent, reply::SseReply, resolve},
};
use tresor_digest::Md5Pool;
use tresor_envelope::{Binding, CustomerKey, PartParams, PlainSource, seal};
use tresor_kms::{KeySource, ObjectPlace};
use tresor_model::{AccountId, ChecksumType, ObjectKey, TagSet, WriteId};
use tresor_storage::{Bucket, EtagMatch, NewObject, ObjectMeta, Precondition, Version};

/// S3's limit for one PUT and for one part, in bytes.
pub(crate) const MAX_PUT_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// Everything about a new object but its bytes.
pub(crate) struct NewWrite {
    pub key: ObjectKey,
    pub meta: ObjectMeta,
    pub tags: TagSet,
    pub sse: SseIntent,
    pub precondition: Precondition,
    pub acl: RequestedAcl,
}

/// Takes `If-Match` and `If-None-Match` of a write. Errors: NotImplemented for what S3 does not take here.
pub(crate) fn take_precondition(fields: &mut Fields) -> Result<Precondition, S3Error> {
    let if_none_match_any = match fields.take("if-none-match")?.as_deref() {
        None => false,
        Some("*") => true,
        Some(_) => return Err(S3Error::header_not_implemented("If-None-Match")),
    };
    let if_match = match fields.take("if-match")? {
        None => None,
        Some(tag) if tag.trim() == "*" => Some(EtagMatch::Any),
        // A tag that no object can have matches none.
        Some(tag) => Some(tag.trim().parse().map_or(EtagMatch::Never, EtagMatch::Tag)),
    };
    Ok(Precondition { if_match, if_none_match_any })
}

/// The names a key is issued and recovered for: they go into the KMS encryption context.
pub(crate) fn place<'a>(cx: &'a RequestContext<'_>, bucket: &'a Bucket, key: &ObjectKey) -> ObjectPlace<'a> {
    ObjectPlace {
        region: &cx.gateway.settings.region,
        bucket_arn: bucket.name.arn(),
        object_arn: bucket.name.object_arn(key),
        owner: &bucket.owner,
    }
}

/// The account on whose behalf a permitted request acts.
pub(crate) fn account(cx: &RequestContext<'_>) -> Result<AccountId, S3Error> {
    cx.caller.account().cloned().ok_or_else(S3Error::access_denied)
}

/// What a stored write answers.
pub(crate) struct Written {
    pub version: Version,
    pub sse: SseReply,
    pub checksums: Checksums,
}

/// Resolves the encryption, issues a key, seals the body and stores it.
/// `body` builds the plaintext once it is known whether the ETag must be an MD5, and then gets what takes it.
pub(crate) async fn store<S: PlainSource + 'static>(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    new: NewWrite,
    body: impl FnOnce(Option<&Md5Pool>) -> (S, DigestsLater),
) -> Result<Written, S3Error> {
    let gateway = cx.gateway;
    let (owner, acl) = AclRules::of(gateway, bucket).await?.of_new_object(cx, bucket, &new.acl)?;
    let source = resolve::resolve(cx, bucket, new.sse).await?;
    let etag = resolve::etag_rule(&source);
    let customer: Option<CustomerKey> = match &source {
        KeySource::Customer(key) => Some(key.clone()),
        KeySource::S3Managed | KeySource::Kms { .. } | KeySource::Dsse { .. } => None,
    };
    let write = WriteId::fresh(gateway.clock.now(), &*gateway.entropy);
    let binding = Binding { bucket: bucket.id, key: new.key.clone(), write };
    let issued = gateway.keys.issue(cx.caller, source, &binding, &place(cx, bucket, &new.key)).await?;
    let sse = SseReply::new(&issued.envelope, customer.as_ref()).with_context(&issued.envelope);
    let (plain, later) = body(matches!(etag, tresor_storage::ETagRule::Md5).then_some(&gateway.md5));
    let params = PartParams::fresh(1, &*gateway.entropy);
    let sealed = seal(issued.key, &issued.envelope.header, params, Box::new(plain));
    let object = NewObject {
        key: new.key,
        write,
        owner,
        meta: new.meta,
        tags: new.tags,
        envelope: issued.envelope,
        key_id: issued.key_id,
        material_id: issued.material_id,
        etag,
        checksum_kind: ChecksumType::FullObject,
        precondition: new.precondition.clone(),
        acl,
    };
    let version =
        cx.store.put_object(bucket, object, sealed).await.map_err(|error| failed(error, &new.precondition))?;
    let checksums = later.get().map(|digests| digests.checksums).unwrap_or_default();
    Ok(Written { version, sse, checksums })
}

/// A failed precondition names the header it came from.
pub(crate) fn failed(error: tresor_storage::StoreError, precondition: &Precondition) -> S3Error {
    match error {
        tresor_storage::StoreError::PreconditionFailed => {
            S3Error::precondition_failed(if precondition.if_match.is_some() { "If-Match" } else { "If-None-Match" })
        }
        other => other.into(),
    }
}
