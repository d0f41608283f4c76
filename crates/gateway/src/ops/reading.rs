//! What reads share: finding the version, its data key, its checksums, and the part of it that is asked for.

use super::writing::place;
use crate::{
    body::Checksums,
    error::S3Error,
    serve::RequestContext,
    sse::{customer, resolve},
};
use std::{ops::Range, sync::Arc};
use tresor_envelope::{Binding, ContentKey, CustomerKey, SseMode, decode_checksums};
use tresor_model::{ByteRange, ObjectKey, VersionId};
use tresor_storage::{Bucket, PartRow, StoreError, Version, VersionChange};

/// The version a request names: the one it was judged by, if it was judged by one. Errors: NoSuchKey, NoSuchVersion, MethodNotAllowed for a delete marker named by id.
pub(crate) async fn find(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    version: Option<&VersionId>,
) -> Result<Arc<Version>, S3Error> {
    let found = match cx.judged.take(bucket, key, version) {
        Some(judged) => judged,
        None => cx.gateway.store.version(bucket, key, version).await?,
    };
    match (found, version) {
        (Some(found), None) if found.delete_marker => Err(S3Error::no_such_key(key)
            .header("x-amz-delete-marker", "true")
            .header("x-amz-version-id", found.version_id.to_string())),
        (Some(found), Some(_)) if found.delete_marker => {
            Err(S3Error::method_not_allowed("GET", "DeleteMarker").header("x-amz-delete-marker", "true"))
        }
        (Some(found), _) => Ok(found),
        // That nothing is there is for those to know who may list: S3 API reference, GetObject and HeadObject.
        (None, None) => {
            Box::pin(cx.permit(cx.operation, "s3:ListBucket", bucket, None, None)).await?;
            Err(S3Error::no_such_key(key))
        }
        (None, Some(version)) => {
            Box::pin(cx.permit(cx.operation, "s3:ListBucketVersions", bucket, None, None)).await?;
            Err(S3Error::no_such_version(key, &version.to_string()))
        }
    }
}

/// How often a change that was overtaken by a write begins again.
const OVERTAKEN: usize = 4;

/// Changes something about a version: the one that was judged, or one that replaced it, judged as that one. `change` tells what is to
/// be changed about a version, if anything. Errors: those of `find`, of `change` and of permission, OperationAborted.
pub(crate) async fn change(
    cx: &RequestContext<'_>,
    (bucket, key, named): (&Bucket, &ObjectKey, Option<&VersionId>),
    action: &'static str,
    change: impl Fn(&Version) -> Result<Option<VersionChange>, S3Error>,
) -> Result<VersionId, S3Error> {
    for _ in 0..OVERTAKEN {
        let version = find(cx, bucket, key, named).await?;
        let Some(change) = change(&version)? else { return Ok(version.version_id) };
        match cx.store.change_version(bucket, &version, &change).await {
            Ok(()) => return Ok(version.version_id),
            Err(StoreError::Conflict) => {
                let named = named.map(ToString::to_string);
                cx.permit(cx.operation, action, bucket, Some(key), named.as_deref()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Holds the customer key of a request against the encryption of the object.
/// Errors: InvalidRequest when the key is missing, or sent for an object that has none.
pub(crate) fn check_customer(version: &Version, key: Option<&CustomerKey>) -> Result<(), S3Error> {
    match (version.envelope.header.mode, key) {
        (SseMode::Customer, None) => Err(customer::customer_key_required()),
        (SseMode::Customer, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(S3Error::invalid_request("The encryption parameters are not applicable to this object.")),
    }
}

/// The key that opens a version. Errors: those of the key ring, and InvalidArgument for KMS without SigV4.
pub(crate) async fn recover(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    version: &Version,
    customer: Option<CustomerKey>,
) -> Result<ContentKey, S3Error> {
    match version.envelope.header.mode {
        SseMode::Kms | SseMode::KmsBucketKey | SseMode::Dsse => resolve::require_sigv4(cx)?,
        SseMode::S3 | SseMode::Customer => {}
    }
    let binding = Binding { bucket: bucket.id, key: version.key.clone(), write: version.write };
    let place = place(cx, bucket, &version.key);
    Ok(cx.gateway.keys.recover(cx.caller, &version.envelope, &binding, &place, customer).await?)
}

/// The checksums of the whole object, opened with its key.
pub(crate) fn checksums(version: &Version, key: &ContentKey) -> Result<Checksums, S3Error> {
    match &version.checksums {
        None => Ok(Vec::new()),
        Some(stored) => open_checksums(key, &stored.salt, &stored.sealed),
    }
}

/// Opens one sealed list of checksums. A list that does not open is damage, never an empty answer.
pub(crate) fn open_checksums(key: &ContentKey, salt: &[u8; 32], sealed: &[u8]) -> Result<Checksums, S3Error> {
    let plain = key.open_digests(salt, sealed).map_err(damaged)?;
    decode_checksums(&plain).map_err(damaged)
}

pub(crate) fn damaged(error: impl std::fmt::Display) -> S3Error {
    tracing::error!(%error, "stored bytes do not authenticate");
    S3Error::internal()
}

/// Which bytes of an object a read asks for.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    Whole,
    /// A satisfiable `Range`; the header as it came.
    Range(ByteRange, String),
    /// `partNumber`.
    Part(u16),
}

/// The bytes to send and whether the answer is 206.
pub(crate) struct Selected {
    pub range: Range<u64>,
    pub partial: bool,
    /// The parts of the object, when a part was asked for.
    pub parts: Option<usize>,
    /// The part asked for, if it has a row of its own.
    pub part: Option<PartRow>,
}

/// Errors: InvalidRange, InvalidPartNumber.
pub(crate) async fn select(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    version: &Version,
    selection: &Selection,
) -> Result<Selected, S3Error> {
    let whole = |partial| Selected { range: 0..version.size, partial, parts: None, part: None };
    match selection {
        Selection::Whole => Ok(whole(false)),
        Selection::Range(range, header) => match range.within(version.size) {
            Some(range) => Ok(Selected { range, ..whole(true) }),
            None => Err(S3Error::invalid_range(header, version.size)),
        },
        Selection::Part(number) => {
            let invalid = || {
                S3Error::new(
                    http::StatusCode::RANGE_NOT_SATISFIABLE,
                    "InvalidPartNumber",
                    "The requested partnumber is not satisfiable",
                )
                .with("PartNumberRequested", number.to_string())
                .with("ActualPartCount", version.parts_count.unwrap_or(1).to_string())
            };
            let Some(count) = version.parts_count else {
                return if *number == 1 { Ok(whole(version.size > 0)) } else { Err(invalid()) };
            };
            let mut start = 0;
            for row in cx.gateway.store.parts(bucket, version).await? {
                if row.number == *number {
                    let range = start..start + row.size;
                    return Ok(Selected { range, partial: true, parts: Some(count.into()), part: Some(row) });
                }
                start += row.size;
            }
            Err(invalid())
        }
    }
}
