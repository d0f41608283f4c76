//! Which permission of a list stands for which action of a policy, and whom a list lets in. Source: S3 user guide, "Mapping of ACL
//! permissions and access policy permissions" and "How Amazon S3 authorizes a request".

use tresor_model::{AccountId, Acl, Permission, Reach as Listed};
use tresor_policy::Reach;

/// Whose list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Bucket,
    Object,
}

/// Operations that make an object or prepare one: whoever asks will be its owner.
fn creates(operation: &str) -> bool {
    matches!(operation, "PutObject" | "PostObject" | "CopyObject" | "CreateMultipartUpload")
}

/// The list and the permission that allow an action; nothing for actions that no list allows.
/// WRITE on a bucket lets its grantee delete objects too, as the older text of the table has it and S3 does; versions stay the bucket
/// owner's. It lets him give what he creates a list, which as its owner he could do afterwards.
pub(crate) fn needed(operation: &str, action: &str) -> Option<(On, Permission)> {
    Some(match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => (On::Bucket, Permission::Read),
        "s3:PutObject" | "s3:DeleteObject" => (On::Bucket, Permission::Write),
        "s3:PutObjectAcl" if creates(operation) => (On::Bucket, Permission::Write),
        "s3:GetBucketAcl" => (On::Bucket, Permission::ReadAcp),
        "s3:PutBucketAcl" => (On::Bucket, Permission::WriteAcp),
        "s3:GetObject" | "s3:GetObjectVersion" => (On::Object, Permission::Read),
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => (On::Object, Permission::ReadAcp),
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => (On::Object, Permission::WriteAcp),
        _ => return None,
    })
}

/// Actions on an object that its owner decides about, where he is not the bucket's: its bytes, what is told about them, its list.
/// Tags, locks and deletion are the bucket owner's business (S3 API reference, GetObjectTagging: "By default, the bucket owner has
/// this permission").
pub(crate) fn belongs_to_object_owner(operation: &str, action: &str) -> bool {
    match action {
        "s3:GetObject"
        | "s3:GetObjectVersion"
        | "s3:GetObjectAttributes"
        | "s3:GetObjectVersionAttributes"
        | "s3:GetObjectAcl"
        | "s3:GetObjectVersionAcl"
        | "s3:PutObjectVersionAcl" => true,
        "s3:PutObjectAcl" => !creates(operation),
        _ => false,
    }
}

/// The list that comes with an upload is the uploader's business, who needs `s3:PutObject` besides: AWS's own examples of buckets that
/// demand `bucket-owner-full-control` of other accounts, and of its services, allow nothing more. Source: S3 user guide, "Bucket owner
/// granting permissions to objects it does not own" and "Bucket policy examples".
pub(crate) fn belongs_to_writer(operation: &str, action: &str) -> bool {
    action == "s3:PutObjectAcl" && creates(operation)
}

/// How a list lets a caller in, in the terms of a decision. `ignore_public`: IgnorePublicAcls is on. A missing list is private.
pub(crate) fn granted(
    acl: Option<&Acl>,
    caller: Option<&AccountId>,
    needed: Permission,
    ignore_public: bool,
) -> Option<Reach> {
    let acl = acl?;
    let listed = if ignore_public { acl.reach_of_accounts(caller, needed) } else { acl.reach(caller, needed) };
    match listed {
        Listed::Nobody => None,
        Listed::Account => Some(Reach::Account),
        Listed::Public => Some(Reach::Anyone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_model::{Grant, Grantee, Group};

    #[test]
    fn only_the_actions_of_the_table_are_allowed_by_a_list() {
        assert_eq!(needed("HeadBucket", "s3:ListBucket"), Some((On::Bucket, Permission::Read)));
        assert_eq!(needed("UploadPart", "s3:PutObject"), Some((On::Bucket, Permission::Write)));
        assert_eq!(needed("HeadObject", "s3:GetObjectVersion"), Some((On::Object, Permission::Read)));
        assert_eq!(needed("PutObject", "s3:PutObjectAcl"), Some((On::Bucket, Permission::Write)));
        assert_eq!(needed("PutObjectAcl", "s3:PutObjectAcl"), Some((On::Object, Permission::WriteAcp)));
        for action in ["s3:PutBucketPolicy", "s3:DeleteBucket", "s3:GetObjectTagging", "s3:DeleteObjectVersion", "s3:*"]
        {
            assert_eq!(needed("X", action), None, "{action}");
        }
    }

    #[test]
    fn what_an_object_owner_decides() {
        for (operation, action, his) in [
            ("GetObject", "s3:GetObject", true),
            ("PutObjectAcl", "s3:PutObjectAcl", true),
            ("PutObject", "s3:PutObjectAcl", false),
            ("PutObject", "s3:PutObject", false),
            ("DeleteObject", "s3:DeleteObject", false),
            ("GetObjectTagging", "s3:GetObjectTagging", false),
        ] {
            assert_eq!(belongs_to_object_owner(operation, action), his, "{operation} {action}");
            assert_eq!(belongs_to_writer(operation, action), (operation, action) == ("PutObject", "s3:PutObjectAcl"));
        }
    }

    #[test]
    fn whom_a_list_lets_in() {
        let account = |id: &str| -> AccountId { id.parse().unwrap() };
        let (owner, other) = (account("111122223333"), account("444455556666"));
        let check = |grantee: Grantee, caller: Option<&AccountId>, ignore_public, expected| {
            let acl = Acl::new(vec![Grant { grantee, permission: Permission::Read }]).unwrap();
            assert_eq!(granted(Some(&acl), caller, Permission::Read, ignore_public), expected, "{acl:?} {caller:?}");
            assert_eq!(granted(Some(&acl), caller, Permission::Write, ignore_public), None);
        };
        let (all, signed) = (Grantee::Group(Group::AllUsers), Grantee::Group(Group::AuthenticatedUsers));
        check(all.clone(), None, false, Some(Reach::Anyone));
        check(all, Some(&other), true, None);
        check(signed.clone(), Some(&other), false, Some(Reach::Anyone));
        check(signed.clone(), None, false, None);
        check(signed, Some(&other), true, None);
        check(Grantee::Account(other.clone()), Some(&other), true, Some(Reach::Account));
        check(Grantee::Account(other.clone()), Some(&owner), false, None);
        check(Grantee::Group(Group::LogDelivery), Some(&other), false, None);
        assert_eq!(granted(None, Some(&owner), Permission::Read, false), None);
    }
}
