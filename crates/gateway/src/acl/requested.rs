//! The list a request asks for: a canned name, grant headers, or a document; and what it means for a given owner.

use super::document::Document;
use crate::{error::S3Error, fields::Fields};
use http::StatusCode;
use tresor_identity::Directory;
use tresor_model::{AccountId, Acl, Grant, Grantee, Group, Permission};

/// A predefined list, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canned {
    Private,
    PublicRead,
    PublicReadWrite,
    AwsExecRead,
    AuthenticatedRead,
    /// Objects only; a bucket takes it for private.
    BucketOwnerRead,
    BucketOwnerFullControl,
    /// Buckets only.
    LogDeliveryWrite,
}

const CANNED: [(&str, Canned); 8] = [
    ("private", Canned::Private),
    ("public-read", Canned::PublicRead),
    ("public-read-write", Canned::PublicReadWrite),
    ("aws-exec-read", Canned::AwsExecRead),
    ("authenticated-read", Canned::AuthenticatedRead),
    ("bucket-owner-read", Canned::BucketOwnerRead),
    ("bucket-owner-full-control", Canned::BucketOwnerFullControl),
    ("log-delivery-write", Canned::LogDeliveryWrite),
];

/// The grant headers behind `x-amz-grant-`.
const HEADERS: [(&str, Permission); 5] = [
    ("full-control", Permission::FullControl),
    ("read", Permission::Read),
    ("write", Permission::Write),
    ("read-acp", Permission::ReadAcp),
    ("write-acp", Permission::WriteAcp),
];

/// A grantee as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// A canonical id, and the name under which an error speaks of it.
    Id(String, &'static str),
    Email(String),
    Group(Group),
}

#[derive(Clone, Debug, Default)]
pub(crate) enum RequestedAcl {
    /// The request says nothing.
    #[default]
    Unspecified,
    Canned(Canned),
    Grants(Vec<(Written, Permission)>),
    Document(Document),
}

impl RequestedAcl {
    /// Takes `x-amz-acl` and `x-amz-grant-*`. Errors: InvalidArgument, InvalidRequest for both at once.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, S3Error> {
        let canned = fields.take("x-amz-acl")?;
        let granted = fields.take_prefixed("x-amz-grant-")?;
        match (canned, granted.is_empty()) {
            (None, true) => Ok(Self::Unspecified),
            (Some(_), false) => {
                Err(S3Error::invalid_request("Specifying both Canned ACLs and Header Grants is not allowed"))
            }
            (Some(name), true) => canned_named(&name).map(Self::Canned),
            (None, false) => {
                let mut grants = Vec::new();
                for (name, value) in granted {
                    let permission =
                        HEADERS.iter().find(|(known, _)| *known == name).map(|(_, permission)| *permission);
                    let header = format!("x-amz-grant-{name}");
                    let permission = permission.ok_or_else(|| S3Error::header_not_implemented(&header))?;
                    for written in grantees(&value, &header)? {
                        grants.push((written, permission));
                    }
                    if grants.len() > Acl::MAX_GRANTS {
                        return Err(too_many());
                    }
                }
                Ok(Self::Grants(grants))
            }
        }
    }

    pub(crate) fn is_specified(&self) -> bool {
        !matches!(self, Self::Unspecified)
    }

    /// The list of a bucket. Errors: InvalidArgument, UnresolvableGrantByEmailAddress, AccessDenied for another owner's document.
    pub(crate) fn for_bucket(&self, directory: &Directory, owner: &AccountId) -> Result<Acl, S3Error> {
        let none = |owner: &AccountId| Ok(Acl::private(owner));
        let group = |granted: &[(Group, Permission)]| canned(owner, granted, None);
        match self {
            Self::Unspecified => none(owner),
            Self::Canned(name) => match name {
                Canned::Private | Canned::BucketOwnerRead | Canned::BucketOwnerFullControl => none(owner),
                Canned::LogDeliveryWrite => {
                    group(&[(Group::LogDelivery, Permission::Write), (Group::LogDelivery, Permission::ReadAcp)])
                }
                other => open(*other, owner),
            },
            Self::Grants(grants) => resolve(directory, grants),
            Self::Document(document) => document.resolve(directory, owner),
        }
    }

    /// The list of an object. Errors: as for a bucket.
    pub(crate) fn for_object(
        &self,
        directory: &Directory,
        owner: &AccountId,
        bucket_owner: &AccountId,
    ) -> Result<Acl, S3Error> {
        let to_bucket_owner = |permission| canned(owner, &[], Some((bucket_owner, permission)));
        match self {
            Self::Unspecified => Ok(Acl::private(owner)),
            Self::Canned(name) => match name {
                Canned::Private => Ok(Acl::private(owner)),
                Canned::BucketOwnerRead => to_bucket_owner(Permission::Read),
                Canned::BucketOwnerFullControl => to_bucket_owner(Permission::FullControl),
                Canned::LogDeliveryWrite => Err(invalid_canned("log-delivery-write")),
                other => open(*other, owner),
            },
            Self::Grants(grants) => resolve(directory, grants),
            Self::Document(document) => document.resolve(directory, owner),
        }
    }
}

/// The canned lists that mean the same for a bucket and an object.
fn open(name: Canned, owner: &AccountId) -> Result<Acl, S3Error> {
    use Permission::{Read, Write};
    match name {
        Canned::PublicRead => canned(owner, &[(Group::AllUsers, Read)], None),
        Canned::PublicReadWrite => canned(owner, &[(Group::AllUsers, Read), (Group::AllUsers, Write)], None),
        Canned::AuthenticatedRead => canned(owner, &[(Group::AuthenticatedUsers, Read)], None),
        Canned::AwsExecRead => list(vec![
            Grant { grantee: Grantee::Account(owner.clone()), permission: Permission::FullControl },
            Grant { grantee: Grantee::Ec2, permission: Read },
        ]),
        Canned::Private | Canned::BucketOwnerRead | Canned::BucketOwnerFullControl | Canned::LogDeliveryWrite => {
            Ok(Acl::private(owner))
        }
    }
}

/// Full control for the owner, and what comes besides.
fn canned(
    owner: &AccountId,
    groups: &[(Group, Permission)],
    account: Option<(&AccountId, Permission)>,
) -> Result<Acl, S3Error> {
    let mut grants = Acl::private(owner).grants().to_vec();
    grants.extend(
        groups.iter().map(|(group, permission)| Grant { grantee: Grantee::Group(*group), permission: *permission }),
    );
    if let Some((account, permission)) = account.filter(|(account, _)| *account != owner) {
        grants.push(Grant { grantee: Grantee::Account(account.clone()), permission });
    }
    list(grants)
}

pub(super) fn list(grants: Vec<Grant>) -> Result<Acl, S3Error> {
    Acl::new(grants).map_err(|_| too_many())
}

pub(super) fn resolve(directory: &Directory, grants: &[(Written, Permission)]) -> Result<Acl, S3Error> {
    let mut resolved = Vec::with_capacity(grants.len());
    for (written, permission) in grants {
        let account =
            |found: Option<AccountId>, error: &dyn Fn() -> S3Error| found.map(Grantee::Account).ok_or_else(error);
        let grantee = match written {
            Written::Group(group) => Grantee::Group(*group),
            Written::Id(id, _) if id == super::document::EC2 => Grantee::Ec2,
            Written::Id(id, name) => {
                let found = directory.accounts().find(|known| known.canonical_id == *id).map(|known| known.id.clone());
                account(found, &|| S3Error::invalid_argument("Invalid id", *name, Some(id)))?
            }
            Written::Email(email) => {
                let same =
                    |known: &Option<String>| known.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(email));
                let found = directory.accounts().find(|known| same(&known.email)).map(|known| known.id.clone());
                account(found, &|| unresolvable(email))?
            }
        };
        resolved.push(Grant { grantee, permission: *permission });
    }
    list(resolved)
}

fn unresolvable(email: &str) -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "UnresolvableGrantByEmailAddress",
        "The e-mail address you provided does not match any account on record.",
    )
    .with("EmailAddress", email)
}

/// No text of AWS for it is known.
fn too_many() -> S3Error {
    S3Error::invalid_request(format!("An access control list may have at most {} grants.", Acl::MAX_GRANTS))
}

/// S3 says nothing but the name and the value.
fn invalid_canned(name: &str) -> S3Error {
    S3Error::invalid_argument("", "x-amz-acl", Some(name))
}

fn canned_named(name: &str) -> Result<Canned, S3Error> {
    CANNED.iter().find(|(known, _)| *known == name).map(|(_, acl)| *acl).ok_or_else(|| invalid_canned(name))
}

/// Reads `id="…", uri="…", emailAddress="…"`.
fn grantees(value: &str, header: &str) -> Result<Vec<Written>, S3Error> {
    let mut found = Vec::new();
    for part in value.split(',').map(str::trim) {
        let malformed = || S3Error::invalid_argument("Argument format not recognized", header, Some(part));
        let (kind, text) = part.split_once('=').ok_or_else(malformed)?;
        let text = text.trim();
        let text = match text.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').ok_or_else(malformed)?,
            None => text,
        };
        found.push(match kind.trim() {
            "id" => Written::Id(text.to_owned(), "id"),
            kind if kind.eq_ignore_ascii_case("emailaddress") => Written::Email(text.to_owned()),
            "uri" => Written::Group(group(text, "uri")?),
            _ => return Err(malformed()),
        });
    }
    Ok(found)
}

/// Errors: InvalidArgument "Invalid group uri".
pub(super) fn group(uri: &str, name: &'static str) -> Result<Group, S3Error> {
    let found = Group::ALL.into_iter().find(|group| group.uri() == uri);
    found.ok_or_else(|| S3Error::invalid_argument("Invalid group uri", name, Some(uri)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_lists_mean_what_s3_says() {
        let (owner, bucket): (AccountId, AccountId) =
            ("111122223333".parse().unwrap(), "444455556666".parse().unwrap());
        let directory = Directory::default();
        let shown = |acl: Acl| -> Vec<String> {
            let who = |grantee: &Grantee| match grantee {
                Grantee::Account(account) if *account == owner => "owner",
                Grantee::Account(_) => "bucket",
                Grantee::Group(Group::AllUsers) => "all",
                Grantee::Group(Group::AuthenticatedUsers) => "signed",
                Grantee::Group(Group::LogDelivery) => "logs",
                Grantee::Ec2 => "ec2",
            };
            acl.grants().iter().map(|grant| format!("{} {}", who(&grant.grantee), grant.permission.name())).collect()
        };
        let full = "owner FULL_CONTROL";
        let check = |name: &str, of_object: &[&str], of_bucket: &[&str]| {
            let asked = RequestedAcl::Canned(canned_named(name).unwrap());
            if !of_object.is_empty() {
                assert_eq!(shown(asked.for_object(&directory, &owner, &bucket).unwrap()), of_object, "{name}");
            }
            assert_eq!(shown(asked.for_bucket(&directory, &owner).unwrap()), of_bucket, "{name}");
        };
        check("private", &[full], &[full]);
        check("public-read", &[full, "all READ"], &[full, "all READ"]);
        check("public-read-write", &[full, "all READ", "all WRITE"], &[full, "all READ", "all WRITE"]);
        check("authenticated-read", &[full, "signed READ"], &[full, "signed READ"]);
        check("aws-exec-read", &[full, "ec2 READ"], &[full, "ec2 READ"]);
        check("bucket-owner-read", &[full, "bucket READ"], &[full]);
        check("bucket-owner-full-control", &[full, "bucket FULL_CONTROL"], &[full]);
        check("log-delivery-write", &[], &[full, "logs WRITE", "logs READ_ACP"]);
        assert_eq!(canned_named("public").unwrap_err().code, "InvalidArgument");
        let own = RequestedAcl::Canned(Canned::BucketOwnerRead).for_object(&directory, &owner, &owner).unwrap();
        assert_eq!(shown(own), [full]);
    }

    #[test]
    fn grant_headers() {
        let check = |value: &str, expected: Option<Vec<Written>>| {
            assert_eq!(grantees(value, "x-amz-grant-read").ok(), expected, "{value}");
        };
        let id = |text: &str| Written::Id(text.into(), "id");
        check("id=\"abc\"", Some(vec![id("abc")]));
        check("id=abc, id=\"def\"", Some(vec![id("abc"), id("def")]));
        check("emailAddress=\"a@b.c\"", Some(vec![Written::Email("a@b.c".into())]));
        let all = "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"";
        check(all, Some(vec![Written::Group(Group::AllUsers)]));
        for bad in ["", "abc", "id", "name=x", "id=\"abc", "uri=http://example.com", "id=a,,id=b"] {
            check(bad, None);
        }
    }
}
