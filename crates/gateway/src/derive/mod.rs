//! What a request means to a policy: the condition keys it fills and the permissions it needs, from what was said and what is
//! stored, and from nothing else. Pure: the server, `tresor policy check` and `tresor policy lint` ask the same function. Must never
//! look anything up. Source of the rules: the S3 user guide, "Actions, resources, and condition keys for Amazon S3" and
//! "Protecting data with server-side encryption".
//!
//! Two findings decide what encryption policies mean. The algorithm key `s3:x-amz-server-side-encryption` is what the request said and
//! never the bucket's default; `s3:x-amz-server-side-encryption-aws-kms-key-id` is the ARN of the key that will be used, be it the
//! request's, the bucket's or `aws/s3`. And the parts of an upload are judged with what the upload was created with.

mod keys;
mod needs;

pub(crate) use needs::{Facts, On, needs};

use crate::addressing;
use tresor_model::{BucketName, ObjectKey, PARTITION, Timestamp};
use tresor_policy::Context;

/// Names and values, in the order of arrival.
pub type Pairs<'a> = &'a [(String, String)];

/// How a request is signed, as `s3:authType` and `s3:signatureversion` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Nobody,
    Header,
    Query,
    Form,
}

/// Everything that a decision may look at. What does not apply stays empty: `Asked { operation: "GetObject", ..Asked::default() }`.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The operation's name in the S3 API model: `PutObject`; `PostObject` for a form.
    pub operation: &'a str,
    pub bucket: Option<&'a str>,
    pub object_key: Option<&'a str>,
    /// Headers, names in lower case. Those of a form upload do not count where a field could say the same.
    pub headers: Pairs<'a>,
    /// Query parameters; in a presigned request `x-amz-*` parameters count as headers.
    pub query: Pairs<'a>,
    /// The fields of a form upload.
    pub form: Option<Pairs<'a>>,
    /// What the upload of a part was created with, under the names of the headers.
    pub upload: Option<Pairs<'a>>,
    /// The bucket's default: algorithm and KMS key.
    pub default_encryption: Option<(&'a str, Option<&'a str>)>,
    /// The ARN of the KMS key that a write will use, where it is known. Without it a key id that is an ARN or has the shape of an id
    /// stands for itself.
    pub key_arn: Option<&'a str>,
    /// Tags of the object that is read, changed or replaced.
    pub existing_tags: Pairs<'a>,
    /// Tags of a copy's source.
    pub source_tags: Pairs<'a>,
    /// Tags of the bucket, which S3 fills where the bucket says so (PutBucketAbac).
    pub bucket_tags: Pairs<'a>,
    /// Tags in a document: of PutObjectTagging, of what tags a bucket, or of a form's `tagging` field that was read already.
    pub document_tags: Option<Pairs<'a>>,
    /// The `ETag` that an item of DeleteObjects must have.
    pub document_if_match: Option<&'a str>,
    /// `LocationConstraint` of CreateBucket.
    pub location: Option<&'a str>,
    /// The KMS key of the object that is read.
    pub object_kms_key: Option<&'a str>,
    /// The KMS key of a copy's source.
    pub source_kms_key: Option<&'a str>,
    /// The account that owns the bucket.
    pub bucket_owner: Option<&'a str>,
    /// The account that asks.
    pub account: Option<&'a str>,
    pub region: &'a str,
    /// `None`: told from query, form and the Authorization header.
    pub signed: Option<Signed>,
    /// `AWS4-HMAC-SHA256` or `AWS`.
    pub signature_version: Option<&'a str>,
    /// `1.2` or `1.3`, of a connection that the server itself decrypts.
    pub tls_version: Option<&'a str>,
    pub now: Option<Timestamp>,
}

/// One permission that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// `s3:PutObject`, `kms:Decrypt`
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// With which keys it is judged.
    pub role: Role,
}

/// Which of a request's contexts a permission is judged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the request addresses.
    Target,
    /// A copy's source.
    Source,
    /// The KMS key of what is written or read; the key's policy decides, asked by S3 on the caller's behalf.
    Key,
    /// The KMS key of a copy's source.
    SourceKey,
}

/// What a request means.
#[derive(Clone, Debug, Default)]
pub struct Derived {
    /// The condition keys of the target.
    pub context: Context,
    /// Those of a copy's source.
    pub source: Context,
    /// Those of the KMS key, as S3 fills them when it calls KMS.
    pub key: Context,
    pub source_key: Context,
    /// All of these must be allowed, KMS's last.
    pub required: Vec<Required>,
}

impl Derived {
    /// The keys one permission is judged with. The global ones (`aws:PrincipalArn`, `aws:SourceIp` and the like) are not in it: whoever
    /// knows who asks adds them with `Context::set_global`, for KMS with `via: Some("s3")`.
    pub fn context_of(&self, required: &Required) -> &Context {
        match required.role {
            Role::Target => &self.context,
            Role::Source => &self.source,
            Role::Key => &self.key,
            Role::SourceKey => &self.source_key,
        }
    }
}

/// Derives condition keys and needed permissions. Never fails: what cannot be read fills no key.
pub fn derive(asked: &Asked<'_>) -> Derived {
    let facts = asked.facts();
    let source = asked.copy_source();
    let mut required: Vec<Required> = needs(asked.operation, &facts)
        .into_iter()
        .map(|need| {
            let (resource, role) = match need.on {
                On::Account => ("*".to_owned(), Role::Target),
                On::Bucket => (bucket_arn(asked.bucket), Role::Target),
                On::Object => (object_arn(asked.bucket, asked.object_key), Role::Target),
                On::Source => {
                    let named = source.as_ref().map(|(bucket, key, _)| (bucket.as_str(), key.as_str()));
                    (object_arn(named.map(|n| n.0), named.map(|n| n.1)), Role::Source)
                }
            };
            Required { action: need.action, resource, role }
        })
        .collect();
    let (key, source_key) = asked.kms_keys();
    let object = object_arn(asked.bucket, asked.object_key);
    let mut derived = Derived {
        context: asked.target_context(),
        source: source.as_ref().map(|_| asked.source_context()).unwrap_or_default(),
        ..Derived::default()
    };
    if let Some((action, arn)) = key {
        derived.key = asked.kms_context(&object);
        required.push(Required { action, resource: arn, role: Role::Key });
    }
    if let Some((arn, (bucket, key, _))) = source_key.zip(source) {
        derived.source_key = asked.kms_context(&bucket.object_arn(&key));
        required.push(Required { action: "kms:Decrypt", resource: arn, role: Role::SourceKey });
    }
    derived.required = required;
    derived
}

fn bucket_arn(bucket: Option<&str>) -> String {
    format!("arn:{PARTITION}:s3:::{}", bucket.unwrap_or_default())
}

fn object_arn(bucket: Option<&str>, key: Option<&str>) -> String {
    format!("arn:{PARTITION}:s3:::{}/{}", bucket.unwrap_or_default(), key.unwrap_or_default())
}

impl Asked<'_> {
    /// What counts as a header: the header, or the signed query parameter of a presigned request; for a form, its field.
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        let find = |pairs: Pairs<'_>| -> Option<usize> { pairs.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)) };
        if let Some(form) = self.form {
            // No other field of a form is taken for a header: `if-none-match` would be promised and not kept.
            return find(form).filter(|_| name.starts_with("x-amz-")).map(|at| form[at].1.as_str());
        }
        if let Some(at) = find(self.headers) {
            return Some(self.headers[at].1.as_str());
        }
        let presigned = name.starts_with("x-amz-") && self.signed() == Signed::Query;
        find(self.query).filter(|_| presigned).map(|at| self.query[at].1.as_str())
    }

    /// What is written says: for a part it is what its upload was created with.
    fn written(&self, name: &str) -> Option<&str> {
        if !self.is_of_upload() {
            return self.said(name);
        }
        let upload = self.upload.unwrap_or_default();
        upload.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// An operation on a part, or on all of them.
    fn is_of_upload(&self) -> bool {
        matches!(self.operation, "UploadPart" | "UploadPartCopy" | "CompleteMultipartUpload")
    }

    fn signed(&self) -> Signed {
        let has = |pairs: Pairs<'_>, name: &str| pairs.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        match (self.signed, self.form) {
            (Some(signed), _) => signed,
            (None, Some(form)) if has(form, "x-amz-signature") || has(form, "signature") => Signed::Form,
            (None, _) if has(self.query, "X-Amz-Signature") || has(self.query, "Signature") => Signed::Query,
            (None, _) if has(self.headers, "authorization") => Signed::Header,
            (None, _) => Signed::Nobody,
        }
    }

    pub(crate) fn copy_source(&self) -> Option<(BucketName, ObjectKey, Option<String>)> {
        addressing::copy_source(self.said("x-amz-copy-source")?).ok()
    }

    fn facts(&self) -> Facts {
        let any_grant =
            |pairs: Pairs<'_>| pairs.iter().any(|(n, _)| n.to_ascii_lowercase().starts_with("x-amz-grant-"));
        let source_version = self.copy_source().is_some_and(|(_, _, version)| version.is_some());
        let of_query = if self.signed() == Signed::Query { self.query } else { &[] };
        let matched = self.said("if-match").map(str::trim);
        Facts {
            versioned: self.query("versionId").is_some(),
            tagged: (self.said("x-amz-tagging").is_some() && !self.copies_tags())
                || (self.operation == "PostObject" && self.document_tags.is_some())
                || self.form.is_some_and(|form| form.iter().any(|(n, _)| n == "tagging")),
            acl: self.said("x-amz-acl").is_some()
                || self.form.is_some_and(|form| form.iter().any(|(n, _)| n == "acl"))
                || any_grant(self.form.unwrap_or(self.headers))
                || any_grant(of_query),
            retention: self.said("x-amz-object-lock-mode").is_some()
                || self.said("x-amz-object-lock-retain-until-date").is_some(),
            legal_hold: self.said("x-amz-object-lock-legal-hold").is_some(),
            ownership: self.said("x-amz-object-ownership").is_some(),
            object_lock: self.said("x-amz-bucket-object-lock-enabled").is_some_and(|v| v.eq_ignore_ascii_case("true")),
            bypass: self.said("x-amz-bypass-governance-retention").is_some_and(|v| v.eq_ignore_ascii_case("true")),
            source_versioned: source_version,
            copies_tags: self.copies_tags() && !self.source_tags.is_empty(),
            etag: matched.is_some_and(|tag| tag != "*"),
        }
    }

    /// A copy takes its tags from the source, and what the request says of tags means nothing.
    fn copies_tags(&self) -> bool {
        let replaces = || self.said("x-amz-tagging-directive").is_some_and(|d| d.eq_ignore_ascii_case("REPLACE"));
        self.operation == "CopyObject" && !replaces()
    }
}

#[cfg(test)]
mod tests;
