//! The records as they are stored, and the values they become.

use bytes::Bytes;
use tresor_envelope::{Envelope, SealedPart};
use tresor_model::{
    AccountId, Acl, BucketId, BucketName, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, TagSet, Timestamp,
    UploadId, VersionId, WriteId,
};

/// A bucket that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub name: BucketName,
    pub owner: AccountId,
    pub created: Timestamp,
    pub region: String,
}

#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct BucketRecord {
    #[n(0)]
    pub id: BucketId,
    #[n(1)]
    pub owner: AccountId,
    #[n(2)]
    pub created: Timestamp,
    #[n(3)]
    pub region: String,
}

/// The row that every object commit of a bucket guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub(crate) enum BucketState {
    #[n(0)]
    Open,
    /// DeleteBucket is looking whether it is empty.
    #[n(1)]
    Closing,
}

/// System and user metadata, readable at rest as S3 specifies.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct ObjectMeta {
    #[n(0)]
    pub content_type: Option<String>,
    #[n(1)]
    pub cache_control: Option<String>,
    #[n(2)]
    pub content_disposition: Option<String>,
    #[n(3)]
    pub content_encoding: Option<String>,
    #[n(4)]
    pub content_language: Option<String>,
    #[n(5)]
    pub expires: Option<String>,
    #[n(6)]
    pub website_redirect: Option<String>,
    /// `None` is STANDARD.
    #[n(7)]
    pub storage_class: Option<String>,
    #[n(8)]
    pub user: Vec<(String, String)>,
}

/// Whether an ETag is the MD5 of the plaintext (SSE-S3) or 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ETagRule {
    #[n(0)]
    Md5,
    #[n(1)]
    Opaque,
}

/// The checksums of a whole object, sealed under its key.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct StoredChecksums {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    #[n(2)]
    pub kind: ChecksumType,
}

/// Where the ciphertext lies.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) enum Body {
    /// In a row of its own beside the record.
    #[n(0)]
    Inline(#[n(0)] SealedPart),
    #[n(1)]
    Blob(#[n(0)] SealedPart, #[cbor(n(1), with = "minicbor::bytes")] [u8; 8]),
    /// In the rows of an upload's parts.
    #[n(2)]
    Parts {
        #[n(0)]
        upload: UploadId,
        /// Inclusive ranges of part numbers, ascending.
        #[n(1)]
        chosen: Vec<(u16, u16)>,
        /// SHA-256 over the chosen rows, in order.
        #[cbor(n(2), with = "minicbor::bytes")]
        root: [u8; 32],
    },
}

#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct VersionRecord {
    #[n(0)]
    pub write: WriteId,
    /// S3's version id is `null`.
    #[n(1)]
    pub null: bool,
    #[n(2)]
    pub delete_marker: bool,
    #[n(3)]
    pub owner: AccountId,
    #[n(4)]
    pub modified: Timestamp,
    #[n(5)]
    pub size: u64,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub sealed_etag: [u8; 16],
    #[n(7)]
    pub parts: Option<u16>,
    #[n(8)]
    pub envelope: Envelope,
    #[n(9)]
    pub key_id: String,
    #[n(10)]
    pub material_id: String,
    #[n(11)]
    pub meta: ObjectMeta,
    #[n(12)]
    pub tags: TagSet,
    #[n(13)]
    pub checksums: Option<StoredChecksums>,
    #[n(14)]
    pub body: Body,
    /// `None`: the owner has full control and nobody else any.
    #[n(15)]
    pub acl: Option<Acl>,
}

/// One version of one object.
#[derive(Clone, Debug)]
pub struct Version {
    pub key: ObjectKey,
    pub write: WriteId,
    pub version_id: VersionId,
    pub delete_marker: bool,
    pub owner: AccountId,
    pub modified: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    pub etag: ETag,
    /// For an object made by a multipart upload.
    pub parts_count: Option<u16>,
    pub envelope: Envelope,
    pub key_id: String,
    pub material_id: String,
    pub meta: ObjectMeta,
    pub tags: TagSet,
    pub checksums: Option<StoredChecksums>,
    /// `None`: the owner has full control and nobody else any.
    pub acl: Option<Acl>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct PartRecord {
    #[n(0)]
    pub sealed: SealedPart,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed_etag: [u8; 16],
    #[n(2)]
    pub modified: Timestamp,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub sealed_checksums: Option<Vec<u8>>,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub nonce: [u8; 8],
}

/// One uploaded part.
#[derive(Clone, Debug)]
pub struct PartRow {
    pub number: u16,
    /// Bytes of plaintext.
    pub size: u64,
    pub etag: ETag,
    pub modified: Timestamp,
    /// Sealed under the part's salt.
    pub sealed_checksums: Option<Vec<u8>>,
    pub sealed: SealedPart,
    pub(crate) nonce: [u8; 8],
    pub(crate) raw: Bytes,
}

#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct UploadRecord {
    #[n(0)]
    pub write: WriteId,
    #[n(1)]
    pub owner: AccountId,
    #[n(2)]
    pub initiated: Timestamp,
    #[n(3)]
    pub envelope: Envelope,
    #[n(4)]
    pub key_id: String,
    #[n(5)]
    pub material_id: String,
    #[n(6)]
    pub meta: ObjectMeta,
    #[n(7)]
    pub tags: TagSet,
    #[n(8)]
    pub etag: ETagRule,
    #[n(9)]
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The run of the server that is completing the upload, if one is.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub completing: Option<[u8; 16]>,
    /// The object's list.
    #[n(11)]
    pub acl: Option<Acl>,
    /// Who will own the object, if not the account that began the upload.
    #[n(12)]
    pub object_owner: Option<AccountId>,
    /// What the upload was created with that policies ask about and that stands nowhere else, by header name.
    #[n(13)]
    pub said: Option<Vec<(String, String)>>,
}

/// A multipart upload in progress.
#[derive(Clone, Debug)]
pub struct Upload {
    pub key: ObjectKey,
    pub id: UploadId,
    /// The write that completing it will be; the envelope is bound to it.
    pub write: WriteId,
    pub owner: AccountId,
    pub initiated: Timestamp,
    pub envelope: Envelope,
    pub meta: ObjectMeta,
    pub etag: ETagRule,
    pub tags: TagSet,
    /// What the upload was created with that policies ask about and that stands nowhere else, by header name. `None` for an upload
    /// that was begun before this was kept.
    pub said: Option<Vec<(String, String)>>,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub(crate) record: UploadRecord,
    pub(crate) raw: Bytes,
}

impl Upload {
    /// Who will own the object that completing makes.
    pub fn object_owner(&self) -> &AccountId {
        self.record.object_owner.as_ref().unwrap_or(&self.owner)
    }
}

/// What a background task still has to remove.
#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
pub(crate) enum Garbage {
    #[n(0)]
    Blob {
        #[cbor(n(0), with = "minicbor::bytes")]
        owner: [u8; 16],
        #[n(1)]
        part: u16,
        #[cbor(n(2), with = "minicbor::bytes")]
        nonce: [u8; 8],
    },
    /// The parts of an upload, all but those of the ranges that were chosen.
    #[n(1)]
    Parts {
        #[n(0)]
        upload: UploadId,
        #[n(1)]
        keep: Vec<(u16, u16)>,
    },
}

impl Version {
    /// Where the ciphertext lies, for people: a row, or blobs by their names.
    pub fn body_place(&self, bucket: &Bucket) -> String {
        match &self.body {
            Body::Inline(part) => format!("row b/{} ({} bytes of plaintext)", self.write, part.length),
            Body::Blob(_, nonce) => {
                crate::BlobId { bucket: bucket.id, owner: *self.write.as_bytes(), part: 0, nonce: *nonce }.to_string()
            }
            Body::Parts { upload, chosen, .. } => format!("parts {chosen:?} of upload {upload}"),
        }
    }
}
