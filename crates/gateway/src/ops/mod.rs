//! One file an operation, or one for the Get, Put and Delete of a document.

pub(crate) mod acl;
pub(crate) mod bucket;
pub(crate) mod bucket_documents;
pub(crate) mod bucket_encryption;
pub(crate) mod complete_multipart_upload;
pub(crate) mod copy_object;
pub(crate) mod create_multipart_upload;
pub(crate) mod delete_object;
pub(crate) mod delete_objects;
pub(crate) mod get_object;
pub(crate) mod list_buckets;
pub(crate) mod list_multipart_uploads;
pub(crate) mod list_objects;
pub(crate) mod list_parts;
pub(crate) mod multipart;
pub(crate) mod object_attributes;
pub(crate) mod object_tagging;
pub(crate) mod owners;
pub(crate) mod post_object;
pub(crate) mod put_object;
pub(crate) mod reading;
pub(crate) mod upload_part;
pub(crate) mod upload_part_copy;
pub(crate) mod writing;
