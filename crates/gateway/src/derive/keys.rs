//! Where every condition key of S3 comes from. Source: the service authorization reference, "Condition keys for Amazon S3", and the
//! S3 user guide, "Bucket policy examples using condition keys".

use super::{Asked, Pairs, Signed};
use percent_encoding::percent_decode_str;
use tresor_model::{PARTITION, Timestamp};
use tresor_policy::Context;

const SSE: &str = "x-amz-server-side-encryption";
const SSE_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const SSE_CUSTOMER: &str = "x-amz-server-side-encryption-customer-algorithm";
const GRANTS: [&str; 5] = [
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
];
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Asked<'_> {
    /// The keys of what the request addresses.
    pub(super) fn target_context(&self) -> Context {
        let mut context = Context::default();
        self.common(&mut context);
        match self.operation {
            "PutObject"
            | "PostObject"
            | "CopyObject"
            | "CreateMultipartUpload"
            | "UploadPart"
            | "UploadPartCopy"
            | "CompleteMultipartUpload" => self.write_keys(&mut context),
            "UpdateObjectEncryption" => self.encryption_keys(&mut context),
            "PutObjectTagging" => self.tag_keys(&mut context, self.document_tags.unwrap_or_default()),
            "PutObjectAcl" | "PutBucketAcl" => self.acl_keys(&mut context),
            "CreateBucket" => {
                self.acl_keys(&mut context);
                self.bucket_tag_keys(&mut context);
            }
            "PutBucketTagging" | "TagResource" => self.bucket_tag_keys(&mut context),
            "ListObjects" | "ListObjectsV2" | "ListObjectVersions" => {
                // A listing of everything has an empty prefix, which policies name as "".
                context.set("s3:prefix", self.query("prefix").unwrap_or_default());
                self.copy(&mut context, "s3:delimiter", self.query("delimiter"));
                self.copy(&mut context, "s3:max-keys", self.query("max-keys"));
            }
            "PutObjectRetention" | "PutObjectLegalHold" => self.lock_keys(&mut context),
            "DeleteObject" => self.copy(&mut context, "s3:if-match", self.said("if-match")),
            // Every item has its own condition; a header of the request is none of any.
            "DeleteObjects" => self.copy(&mut context, "s3:if-match", self.document_if_match),
            _ => {}
        }
        if self.operation == "CreateBucket" {
            self.copy(&mut context, "s3:LocationConstraint", self.location.filter(|location| !location.is_empty()));
        }
        self.copy(&mut context, "s3:VersionId", self.query("versionId"));
        existing_tags(&mut context, self.existing_tags);
        for (key, value) in self.bucket_tags {
            context.set(&format!("s3:BucketTag/{key}"), value.clone());
            context.set(&format!("aws:ResourceTag/{key}"), value.clone());
        }
        context
    }

    /// The keys of a copy's source: a read, which says nothing about what is written.
    pub(super) fn source_context(&self) -> Context {
        let mut context = Context::default();
        self.common(&mut context);
        if let Some((_, _, version)) = self.copy_source() {
            self.copy(&mut context, "s3:VersionId", version.as_deref());
        }
        existing_tags(&mut context, self.source_tags);
        context
    }

    /// The keys of a call that S3 makes to KMS on the caller's behalf.
    pub(super) fn kms_context(&self, object_arn: &str) -> Context {
        let mut context = Context::default();
        context.set("kms:ViaService", format!("s3.{}.amazonaws.com", self.region));
        context.set("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT");
        context.set("kms:EncryptionContext:aws:s3:arn", object_arn);
        context.set_all("kms:EncryptionContextKeys", ["aws:s3:arn".to_owned()]);
        self.copy(&mut context, "kms:CallerAccount", self.account);
        context
    }

    /// The KMS keys that S3 asks for on the caller's behalf: action and key of the target, and the key of a copy's source.
    pub(super) fn kms_keys(&self) -> (Option<(&'static str, String)>, Option<String>) {
        let target = match self.operation {
            "PutObject" | "PostObject" | "CopyObject" | "CreateMultipartUpload" => {
                self.effective_key().map(|arn| ("kms:GenerateDataKey", arn))
            }
            "UploadPart" | "UploadPartCopy" | "CompleteMultipartUpload" => {
                self.effective_key().map(|arn| ("kms:Decrypt", arn))
            }
            "GetObject" => self.object_kms_key.map(|arn| ("kms:Decrypt", arn.to_owned())),
            _ => None,
        };
        (target, self.source_kms_key.map(str::to_owned))
    }

    /// What every request says.
    fn common(&self, context: &mut Context) {
        self.copy(context, "s3:TlsVersion", self.tls_version);
        self.copy(context, "s3:x-amz-content-sha256", self.header("x-amz-content-sha256"));
        self.copy(context, "s3:ResourceAccount", self.bucket_owner);
        self.copy(context, "aws:ResourceAccount", self.bucket_owner);
        let (kind, date) = match self.signed() {
            Signed::Nobody => return,
            Signed::Header => ("REST-HEADER", self.header("x-amz-date")),
            Signed::Query => ("REST-QUERY-STRING", self.query("X-Amz-Date")),
            Signed::Form => ("POST", self.said("x-amz-date")),
        };
        context.set("s3:authType", kind);
        self.copy(context, "s3:signatureversion", self.signature_version);
        if let Some((now, signed_at)) = self.now.zip(date.and_then(Timestamp::parse_basic)) {
            context.set("s3:signatureAge", now.since(signed_at).to_string());
        }
    }

    /// The keys of a write of an object.
    fn write_keys(&self, context: &mut Context) {
        self.encryption_keys(context);
        // A part that is encrypted with a customer's key says so itself; completing the upload need not.
        let customer = self.said(SSE_CUSTOMER).or_else(|| self.written(SSE_CUSTOMER));
        self.copy(context, "s3:x-amz-server-side-encryption-customer-algorithm", customer);
        self.acl_keys(context);
        self.lock_keys(context);
        for name in ["x-amz-storage-class", "x-amz-website-redirect-location"] {
            self.copy(context, &format!("s3:{name}"), self.written(name));
        }
        self.copy(context, "s3:x-amz-metadata-directive", self.said("x-amz-metadata-directive"));
        if let Some((bucket, key, _)) = self.copy_source() {
            context.set("s3:x-amz-copy-source", format!("{bucket}/{key}"));
        }
        self.copy(context, "s3:if-match", self.said("if-match"));
        self.copy(context, "s3:if-none-match", self.said("if-none-match"));
        // Creating an upload and filling it makes no object yet: a guard of conditional writes means the completion.
        let creates = matches!(self.operation, "PutObject" | "PostObject" | "CopyObject" | "CompleteMultipartUpload");
        context.set("s3:ObjectCreationOperation", creates.to_string());
        let header = self.written("x-amz-tagging").filter(|_| !self.copies_tags());
        let tags = match (header, self.form) {
            (Some(text), _) => query_tags(text),
            (None, Some(form)) => {
                form.iter().find(|(n, _)| n == "tagging").map(|(_, text)| xml_tags(text)).unwrap_or_default()
            }
            (None, None) => Vec::new(),
        };
        let others = self.document_tags.unwrap_or(if self.copies_tags() { self.source_tags } else { &[] });
        let tags = if tags.is_empty() { others } else { &tags };
        self.tag_keys(context, tags);
    }

    fn encryption_keys(&self, context: &mut Context) {
        self.copy(context, "s3:x-amz-server-side-encryption", self.written(SSE));
        if let Some(arn) = self.effective_key() {
            context.set("s3:x-amz-server-side-encryption-aws-kms-key-id", arn);
        }
    }

    /// The ARN of the KMS key that a write will use; the algorithm may come from the bucket's default, unlike its condition key.
    fn effective_key(&self) -> Option<String> {
        if self.is_of_upload() {
            return self.written(SSE_KEY).map(|name| self.key_named(name));
        }
        let named = self.named_key()?;
        self.key_arn.map(str::to_owned).or_else(|| named.map(|name| self.key_named(name)))
    }

    /// The KMS key of a write as it was named, by the request or by the bucket; `Some(None)` is `aws/s3`, `None` no KMS key at all.
    pub(crate) fn named_key(&self) -> Option<Option<&str>> {
        let is_kms = |algorithm: &str| matches!(algorithm, "aws:kms" | "aws:kms:dsse");
        match (self.said(SSE), self.said(SSE_CUSTOMER)) {
            (Some(algorithm), _) if is_kms(algorithm) => Some(self.said(SSE_KEY).filter(|name| !name.is_empty())),
            (None, None) => match self.default_encryption {
                Some((algorithm, key)) if is_kms(algorithm) => Some(key),
                Some(_) | None => None,
            },
            (Some(_), _) | (None, Some(_)) => None,
        }
    }

    /// A key's ARN by its name. An alias that nobody has resolved stays what it is.
    fn key_named(&self, name: &str) -> String {
        match (name.contains([':', '/']), self.account) {
            (false, Some(account)) => format!("arn:{PARTITION}:kms:{}:{account}:key/{name}", self.region),
            _ => name.to_owned(),
        }
    }

    fn acl_keys(&self, context: &mut Context) {
        let acl = self.written("x-amz-acl").or_else(|| {
            let field = |form: &'_ [(String, String)]| form.iter().position(|(n, _)| n == "acl");
            self.form.and_then(|form| field(form).map(|at| form[at].1.as_str()))
        });
        self.copy(context, "s3:x-amz-acl", acl);
        for name in GRANTS {
            self.copy(context, &format!("s3:{name}"), self.written(name));
        }
    }

    fn lock_keys(&self, context: &mut Context) {
        self.copy(context, "s3:object-lock-mode", self.said("x-amz-object-lock-mode"));
        self.copy(context, "s3:object-lock-legal-hold", self.said("x-amz-object-lock-legal-hold"));
        let until = self.said("x-amz-object-lock-retain-until-date");
        self.copy(context, "s3:object-lock-retain-until-date", until);
        if let Some((until, now)) = until.and_then(Timestamp::parse_iso8601).zip(self.now) {
            let days = until.since(now).div_ceil(DAY_MS);
            context.set("s3:object-lock-remaining-retention-days", days.to_string());
        }
    }

    fn tag_keys(&self, context: &mut Context, tags: Pairs<'_>) {
        for (key, value) in tags {
            context.set(&format!("s3:RequestObjectTag/{key}"), value.clone());
        }
        context.set_all("s3:RequestObjectTagKeys", tags.iter().map(|(key, _)| key.clone()));
    }

    /// The tags that a request gives a bucket; those of objects have keys of their own.
    fn bucket_tag_keys(&self, context: &mut Context) {
        let tags = self.document_tags.unwrap_or_default();
        for (key, value) in tags {
            context.set(&format!("aws:RequestTag/{key}"), value.clone());
        }
        context.set_all("aws:TagKeys", tags.iter().map(|(key, _)| key.clone()));
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn copy(&self, context: &mut Context, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            context.set(key, value);
        }
    }
}

fn existing_tags(context: &mut Context, tags: Pairs<'_>) {
    for (key, value) in tags {
        context.set(&format!("s3:ExistingObjectTag/{key}"), value.clone());
    }
}

/// `k1=v1&k2=v2`, percent-encoded.
fn query_tags(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter(|part| !part.is_empty());
    pairs.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// The `tagging` field of a form is a `Tagging` document.
fn xml_tags(text: &str) -> Vec<(String, String)> {
    let Ok(root) = crate::xml::Element::parse(text.as_bytes(), "Tagging") else { return Vec::new() };
    let tag =
        |tag: &crate::xml::Element| Some((tag.text_of("Key").ok()?.to_owned(), tag.text_of("Value").ok()?.to_owned()));
    root.all("TagSet").flat_map(|set| set.all("Tag")).filter_map(tag).collect()
}
