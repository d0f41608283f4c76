//! Which permission of a list stands for which action of a policy.
#![allow(dead_code, reason = "lists count once bucket policies are judged beside them")]

use tresor_model::Permission;

/// Whose list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Bucket,
    Object,
}

/// The list and the permission that allow an action; nothing for actions that no list allows.
/// Source: S3 user guide, "Mapping of ACL permissions and access policy permissions". WRITE on a bucket lets its grantee delete
/// objects too, as the older text of that page has it and S3 does; versions stay the bucket owner's.
pub(crate) fn needed(action: &str) -> Option<(On, Permission)> {
    Some(match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => (On::Bucket, Permission::Read),
        "s3:PutObject" | "s3:DeleteObject" => (On::Bucket, Permission::Write),
        "s3:GetBucketAcl" => (On::Bucket, Permission::ReadAcp),
        "s3:PutBucketAcl" => (On::Bucket, Permission::WriteAcp),
        "s3:GetObject" | "s3:GetObjectVersion" => (On::Object, Permission::Read),
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => (On::Object, Permission::ReadAcp),
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => (On::Object, Permission::WriteAcp),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_actions_of_the_table_are_allowed_by_a_list() {
        assert_eq!(needed("s3:ListBucket"), Some((On::Bucket, Permission::Read)));
        assert_eq!(needed("s3:PutObject"), Some((On::Bucket, Permission::Write)));
        assert_eq!(needed("s3:GetObjectVersion"), Some((On::Object, Permission::Read)));
        for action in ["s3:PutBucketPolicy", "s3:DeleteBucket", "s3:GetObjectTagging", "s3:DeleteObjectVersion", "s3:*"]
        {
            assert_eq!(needed(action), None, "{action}");
        }
    }
}
