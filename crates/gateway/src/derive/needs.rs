//! Which permissions an operation needs: the one table, for the server's own requests and for those that are only imagined. Source:
//! the S3 user guide, "Required permissions for Amazon S3 API operations".

use crate::table;

/// What about a request changes the permissions it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// A version is named by its id.
    pub versioned: bool,
    /// `x-amz-tagging`
    pub tagged: bool,
    /// `x-amz-acl` or `x-amz-grant-*`
    pub acl: bool,
    pub retention: bool,
    pub legal_hold: bool,
    /// `x-amz-object-ownership`
    pub ownership: bool,
    /// `x-amz-bucket-object-lock-enabled`
    pub object_lock: bool,
    /// `x-amz-bypass-governance-retention`
    pub bypass: bool,
    /// The source of a copy is named by a version id.
    pub source_versioned: bool,
    /// The source has tags, and they are copied.
    pub copies_tags: bool,
    /// `If-Match` with an ETag: whoever asks learns whether the object has it.
    pub etag: bool,
}

/// What a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Account,
    Bucket,
    Object,
    /// The source of a copy.
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub action: &'static str,
    pub on: On,
}

/// All permissions of an operation; the first is about what the request addresses. DeleteObjects needs its permission once for every
/// key and is asked key by key, each as a DeleteObject.
pub(crate) fn needs(operation: &str, facts: &Facts) -> Vec<Need> {
    let on_object = |action| Need { action, on: On::Object };
    let form = |plain, versioned| on_object(if facts.versioned { versioned } else { plain });
    match operation {
        "GetObject" | "HeadObject" | "SelectObjectContent" => vec![form("s3:GetObject", "s3:GetObjectVersion")],
        "GetObjectAttributes" => vec![
            form("s3:GetObject", "s3:GetObjectVersion"),
            form("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"),
        ],
        "GetObjectAcl" => vec![form("s3:GetObjectAcl", "s3:GetObjectVersionAcl")],
        "PutObjectAcl" => vec![form("s3:PutObjectAcl", "s3:PutObjectVersionAcl")],
        "GetObjectTagging" => vec![form("s3:GetObjectTagging", "s3:GetObjectVersionTagging")],
        "PutObjectTagging" => vec![form("s3:PutObjectTagging", "s3:PutObjectVersionTagging")],
        "DeleteObjectTagging" => vec![form("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")],
        "DeleteObject" => {
            let mut all = vec![form("s3:DeleteObject", "s3:DeleteObjectVersion")];
            all.extend(facts.bypass.then(|| on_object("s3:BypassGovernanceRetention")));
            // Source: S3 user guide, "Enforce conditional deletes on Amazon S3 buckets".
            all.extend(facts.etag.then(|| form("s3:GetObject", "s3:GetObjectVersion")));
            all
        }
        "PutObject" | "PostObject" | "CreateMultipartUpload" | "CopyObject" => {
            let mut all = vec![on_object("s3:PutObject")];
            if operation == "CopyObject" {
                all.push(source(facts));
                let tags = if facts.source_versioned { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
                all.extend(facts.copies_tags.then_some(Need { action: tags, on: On::Source }));
            }
            // Tags that are copied are read there and written here. Source: AWS knowledge center, "copy between S3 buckets".
            all.extend((facts.tagged || facts.copies_tags).then(|| on_object("s3:PutObjectTagging")));
            all.extend(facts.acl.then(|| on_object("s3:PutObjectAcl")));
            all.extend(facts.retention.then(|| on_object("s3:PutObjectRetention")));
            all.extend(facts.legal_hold.then(|| on_object("s3:PutObjectLegalHold")));
            all
        }
        "UploadPart" | "CompleteMultipartUpload" => vec![on_object("s3:PutObject")],
        "UploadPartCopy" => vec![on_object("s3:PutObject"), source(facts)],
        "CreateBucket" => {
            let on_bucket = |action| Need { action, on: On::Bucket };
            let mut all = vec![on_bucket("s3:CreateBucket")];
            all.extend(facts.acl.then(|| on_bucket("s3:PutBucketAcl")));
            all.extend(facts.ownership.then(|| on_bucket("s3:PutBucketOwnershipControls")));
            if facts.object_lock {
                all.push(on_bucket("s3:PutBucketObjectLockConfiguration"));
                all.push(on_bucket("s3:PutBucketVersioning"));
            }
            all
        }
        other => {
            let (action, on) = table::plain_need(other);
            vec![Need { action, on }]
        }
    }
}

fn source(facts: &Facts) -> Need {
    let action = if facts.source_versioned { "s3:GetObjectVersion" } else { "s3:GetObject" };
    Need { action, on: On::Source }
}
