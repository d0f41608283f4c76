//! What a bucket's settings make of lists: who owns what is written, which lists are refused, which do not count.

use super::requested::{Canned, RequestedAcl};
use crate::{
    error::S3Error,
    ops::{ownership_controls::Ownership, public_access_block::PublicAccessBlock},
    serve::{Gateway, RequestContext},
};
use http::StatusCode;
use tresor_model::{AccountId, Acl};
use tresor_storage::{Bucket, Version};

/// The bucket document's kind in the store; a bucket without one is private.
pub(crate) const DOCUMENT: &str = "acl";

/// Object ownership and the two switches of public access that are about lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AclRules {
    pub ownership: Ownership,
    /// Public lists are refused.
    pub block_public: bool,
    /// Public grants do not count.
    pub ignore_public: bool,
}

impl AclRules {
    /// The rules in force.
    pub(crate) async fn of(gateway: &Gateway, bucket: &Bucket) -> Result<Self, S3Error> {
        let rules = gateway.rules(bucket).await?;
        Ok(Self::new(rules.ownership.in_force(), rules.public_access.in_force()))
    }

    pub(crate) fn new(ownership: Ownership, block: PublicAccessBlock) -> Self {
        Self { ownership, block_public: block.block_public_acls, ignore_public: block.ignore_public_acls }
    }

    pub(crate) fn disabled(self) -> bool {
        self.ownership == Ownership::BucketOwnerEnforced
    }

    /// The owner and the list of an object that `writer` makes; nobody signed for an anonymous one, and the bucket's owner owns it.
    /// Errors: AccessControlListNotSupported, AccessDenied for a public list that is blocked, and those of the list.
    pub(crate) fn of_new_object(
        self,
        cx: &RequestContext<'_>,
        bucket: &Bucket,
        requested: &RequestedAcl,
    ) -> Result<(AccountId, Option<Acl>), S3Error> {
        let owner = self.owner(cx.caller.account(), &bucket.owner, requested);
        let acl = match requested {
            RequestedAcl::Unspecified => None,
            RequestedAcl::Canned(Canned::BucketOwnerRead) if self.disabled() => return Err(not_supported()),
            // What is private to another account is not the bucket owner's.
            RequestedAcl::Canned(Canned::Private) if self.disabled() && cx.caller.account() != Some(&bucket.owner) => {
                return Err(not_supported());
            }
            asked => Some(asked.for_object(&cx.gateway.directory, owner, &bucket.owner)?),
        };
        let acl = self.admit(acl, owner)?;
        Ok((owner.clone(), acl))
    }

    fn owner<'a>(
        self,
        writer: Option<&'a AccountId>,
        bucket_owner: &'a AccountId,
        requested: &RequestedAcl,
    ) -> &'a AccountId {
        let given = matches!(requested, RequestedAcl::Canned(Canned::BucketOwnerFullControl));
        match self.ownership {
            Ownership::BucketOwnerEnforced => bucket_owner,
            Ownership::BucketOwnerPreferred if given => bucket_owner,
            Ownership::BucketOwnerPreferred | Ownership::ObjectWriter => writer.unwrap_or(bucket_owner),
        }
    }

    /// Holds a list against the bucket's rules; nothing is stored where lists are disabled. Errors: AccessControlListNotSupported,
    /// AccessDenied.
    pub(crate) fn admit(self, acl: Option<Acl>, owner: &AccountId) -> Result<Option<Acl>, S3Error> {
        match acl {
            None => Ok(None),
            Some(acl) if self.disabled() => {
                if acl.is_private_to(owner) {
                    Ok(None)
                } else {
                    Err(not_supported())
                }
            }
            Some(acl) if self.block_public && acl.is_public() => Err(S3Error::access_denied()),
            Some(acl) => Ok(Some(acl)),
        }
    }
}

pub(crate) fn not_supported() -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, "AccessControlListNotSupported", "The bucket does not allow ACLs")
}

/// The list of a bucket.
pub(crate) async fn of_bucket(gateway: &Gateway, bucket: &Bucket) -> Result<Acl, S3Error> {
    let rules = gateway.rules(bucket).await?;
    Ok(rules.acl.clone().unwrap_or_else(|| Acl::private(&bucket.owner)))
}

/// As a bucket's document holds it.
pub(crate) fn to_bytes(acl: &Acl) -> Vec<u8> {
    minicbor::to_vec(acl).expect("encoding into a Vec cannot fail")
}

/// The list of an object.
pub(crate) fn of_version(version: &Version) -> Acl {
    version.acl.clone().unwrap_or_else(|| Acl::private(&version.owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tresor_model::{Grant, Grantee, Group, Permission};

    fn rules(ownership: Ownership, block_public: bool) -> AclRules {
        AclRules { ownership, block_public, ignore_public: block_public }
    }

    #[test]
    fn who_owns_what_another_account_writes() {
        let (bucket, writer): (AccountId, AccountId) =
            ("111122223333".parse().unwrap(), "444455556666".parse().unwrap());
        let given = RequestedAcl::Canned(Canned::BucketOwnerFullControl);
        let check = |ownership, requested: &RequestedAcl, who: Option<&AccountId>, expected: &AccountId| {
            assert_eq!(rules(ownership, false).owner(who, &bucket, requested), expected, "{ownership:?} {requested:?}");
        };
        let nothing = RequestedAcl::Unspecified;
        check(Ownership::BucketOwnerEnforced, &nothing, Some(&writer), &bucket);
        check(Ownership::BucketOwnerPreferred, &nothing, Some(&writer), &writer);
        check(Ownership::BucketOwnerPreferred, &given, Some(&writer), &bucket);
        check(Ownership::ObjectWriter, &given, Some(&writer), &writer);
        check(Ownership::ObjectWriter, &nothing, None, &bucket);
    }

    #[test]
    fn which_lists_a_bucket_takes() {
        let owner: AccountId = "111122223333".parse().unwrap();
        let public =
            Acl::new(vec![Grant { grantee: Grantee::Group(Group::AllUsers), permission: Permission::Read }]).unwrap();
        let check = |rules: AclRules, acl: Acl, expected: Result<bool, &str>| {
            assert_eq!(rules.admit(Some(acl), &owner).map(|acl| acl.is_some()).map_err(|error| error.code), expected);
        };
        check(rules(Ownership::BucketOwnerEnforced, true), Acl::private(&owner), Ok(false));
        check(rules(Ownership::BucketOwnerEnforced, false), public.clone(), Err("AccessControlListNotSupported"));
        check(rules(Ownership::ObjectWriter, true), public.clone(), Err("AccessDenied"));
        check(rules(Ownership::ObjectWriter, false), public, Ok(true));
    }
}
