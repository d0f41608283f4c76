//! What the multipart operations share, and AbortMultipartUpload.

use super::{reading, writing::place};
use crate::{
    authorize::{Access, Permit, Resource},
    body::{Checksums, DEFAULT_CHECKSUM},
    error::{S3Error, SSE_HEADER},
    fields::Fields,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    sse::resolve,
    table,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tresor_envelope::{Binding, ContentKey, CustomerKey, SseMode};
use tresor_front::Response;
use tresor_kms::KmsError;
use tresor_model::{BucketName, ChecksumAlgorithm, ChecksumType, ObjectKey, UploadId};
use tresor_storage::{Bucket, PartRow, StoreError, Upload};

/// S3's least size of every part but the last, in bytes.
pub(crate) const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// S3's highest part number.
pub(crate) const MAX_PARTS: u16 = 10_000;

/// An upload as a request names it.
pub(crate) struct Named {
    pub bucket: BucketName,
    pub expected_owner: Option<String>,
    pub key: ObjectKey,
    pub upload: String,
}

impl Named {
    pub(crate) fn parse(fields: &mut Fields) -> Result<Self, S3Error> {
        Ok(Self {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            upload: fields.query("uploadId").unwrap_or_default().to_owned(),
        })
    }
    pub(crate) fn access(&self, action: &'static str) -> Access {
        Access::one(action, Resource::Object(self.bucket.clone(), self.key.clone()), self.expected_owner.clone())
    }
    /// As `access`, for what is done to parts.
    pub(crate) fn access_to_parts(&self, action: &'static str) -> Access {
        self.access(action).of_upload(&self.upload)
    }
    pub(crate) fn id(&self) -> Result<UploadId, S3Error> {
        self.upload.parse().map_err(|_| S3Error::no_such_upload(&self.upload))
    }
    /// Errors: NoSuchUpload.
    pub(crate) async fn find(&self, cx: &RequestContext<'_>, bucket: &Bucket) -> Result<Upload, S3Error> {
        cx.gateway.store.upload(bucket, &self.key, &self.id()?).await.map_err(|error| match error {
            StoreError::NoSuchUpload => S3Error::no_such_upload(&self.upload),
            other => other.into(),
        })
    }
}

pub(crate) fn take_part_number(fields: &Fields) -> Result<u16, S3Error> {
    let text = fields.query("partNumber").unwrap_or_default();
    text.parse().ok().filter(|number| (1..=MAX_PARTS).contains(number)).ok_or_else(|| {
        S3Error::invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            Some(text),
        )
    })
}

/// The key of an upload's object. Errors: those of SSE-C parts (`sse.md` section 2.3) and of the key ring.
pub(crate) async fn recover(
    cx: &RequestContext<'_>,
    bucket: &Bucket,
    upload: &Upload,
    customer: Option<CustomerKey>,
) -> Result<ContentKey, S3Error> {
    let is_customer = upload.envelope.header.mode == SseMode::Customer;
    if is_customer != customer.is_some() {
        return Err(S3Error::invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
        ));
    }
    if !upload.envelope.header.key_arn.is_empty() {
        resolve::require_sigv4(cx)?;
    }
    let binding = Binding { bucket: bucket.id, key: upload.key.clone(), write: upload.write };
    let place = place(cx, bucket, &upload.key);
    cx.gateway.keys.recover(cx.caller, &upload.envelope, &binding, &place, customer).await.map_err(
        |error| match error {
            KmsError::WrongCustomerKey => {
                S3Error::invalid_request("The provided encryption parameters did not match the ones used originally.")
            }
            other => other.into(),
        },
    )
}

/// What an upload was created with, under the names of the headers: what policies ask of its parts.
pub(crate) fn said(upload: &Upload) -> Vec<(String, String)> {
    let header = &upload.envelope.header;
    let mut said = upload.said.clone().unwrap_or_else(|| {
        // Begun before this was kept: what it is encrypted with stands for what was asked for.
        let algorithm = match header.mode {
            SseMode::S3 => Some("AES256"),
            SseMode::Kms | SseMode::KmsBucketKey => Some("aws:kms"),
            SseMode::Dsse => Some("aws:kms:dsse"),
            SseMode::Customer => None,
        };
        algorithm.map(|algorithm| (SSE_HEADER.to_owned(), algorithm.to_owned())).into_iter().collect()
    });
    let mut add = |name: &str, value: String| said.push((name.to_owned(), value));
    if header.mode == SseMode::Customer {
        // Completing it names no key again.
        add("x-amz-server-side-encryption-customer-algorithm", "AES256".to_owned());
    }
    if matches!(header.mode, SseMode::Kms | SseMode::KmsBucketKey | SseMode::Dsse) {
        add("x-amz-server-side-encryption-aws-kms-key-id", header.key_arn.clone());
    }
    if let Some(class) = &upload.meta.storage_class {
        add("x-amz-storage-class", class.clone());
    }
    if let Some(location) = &upload.meta.website_redirect {
        add("x-amz-website-redirect-location", location.clone());
    }
    if !upload.tags.is_empty() {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let tags: Vec<String> =
            upload.tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
        add("x-amz-tagging", tags.join("&"));
    }
    said
}

/// The checksum that every part of an upload keeps: the one the upload was created with, or S3's default.
pub(crate) fn kept_checksum(upload: &Upload) -> (ChecksumAlgorithm, ChecksumType) {
    upload.checksum.unwrap_or((DEFAULT_CHECKSUM, ChecksumType::FullObject))
}

/// The checksums of one part, opened.
pub(crate) fn part_checksums(key: &ContentKey, part: &PartRow) -> Result<Checksums, S3Error> {
    match &part.sealed_checksums {
        None => Ok(Vec::new()),
        Some(sealed) => reading::open_checksums(key, &part.sealed.salt, sealed),
    }
}

pub(crate) struct AbortMultipartUpload;

impl Operation for AbortMultipartUpload {
    const NAME: &'static str = "AbortMultipartUpload";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        if fields.take("x-amz-if-match-initiated-time")?.is_some() {
            // AWS has it for directory buckets only.
            return Err(S3Error::header_not_implemented("x-amz-if-match-initiated-time"));
        }
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<(), S3Error> {
        let (named, bucket, _) = permit.into_parts()?;
        let upload = named.find(cx, &bucket).await?;
        cx.store.abort_upload(&bucket, &upload).await.map_err(|error| match error {
            StoreError::NoSuchUpload => S3Error::no_such_upload(&named.upload),
            other => other.into(),
        })
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}
