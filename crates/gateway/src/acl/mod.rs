//! Access control lists: what a request asks for, the rules of the bucket it asks it of, and what a list permits. A list only ever
//! allows; it must never outweigh an explicit deny. Source: S3 user guide, "Access control list (ACL) overview" and "Controlling
//! ownership of objects and disabling ACLs for your bucket".

mod document;
mod permits;
mod requested;
mod rules;

pub(crate) use document::{Document, write};
pub(crate) use permits::{On, belongs_to_object_owner, belongs_to_writer, granted, needed};
pub(crate) use requested::{Canned, RequestedAcl};
pub(crate) use rules::{AclRules, DOCUMENT, not_supported, of_bucket, of_version, to_bytes};
