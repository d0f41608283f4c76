//! Access control lists: who was granted what on one bucket or one object. Whether a grant counts is not decided here.

use crate::AccountId;

/// What a grant gives. `WriteAcp` means nothing less on a bucket than on an object; `Write` means nothing on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Permission {
    #[n(0)]
    FullControl,
    #[n(1)]
    Read,
    #[n(2)]
    Write,
    #[n(3)]
    ReadAcp,
    #[n(4)]
    WriteAcp,
}

impl Permission {
    pub const ALL: [Self; 5] = [Self::FullControl, Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp];

    /// As the document writes it: `FULL_CONTROL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullControl => "FULL_CONTROL",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadAcp => "READ_ACP",
            Self::WriteAcp => "WRITE_ACP",
        }
    }
    /// Whether whoever has `self` may do what `needed` stands for.
    pub fn covers(self, needed: Self) -> bool {
        self == Self::FullControl || self == needed
    }
}

/// The groups that S3 knows, named by their URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Group {
    /// Everybody, signed or not.
    #[n(0)]
    AllUsers,
    /// Everybody with an access key, of whatever account.
    #[n(1)]
    AuthenticatedUsers,
    /// The writer of server access logs.
    #[n(2)]
    LogDelivery,
}

impl Group {
    pub const ALL: [Self; 3] = [Self::AllUsers, Self::AuthenticatedUsers, Self::LogDelivery];

    pub const fn uri(self) -> &'static str {
        match self {
            Self::AllUsers => "http://acs.amazonaws.com/groups/global/AllUsers",
            Self::AuthenticatedUsers => "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
            Self::LogDelivery => "http://acs.amazonaws.com/groups/s3/LogDelivery",
        }
    }
    /// What S3 calls public: grants to everybody, and to everybody with an access key.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::AllUsers | Self::AuthenticatedUsers)
    }
}

/// Who a grant is for. Canonical ids and mail addresses were resolved to accounts when the list was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub enum Grantee {
    #[n(0)]
    Account(#[n(0)] AccountId),
    #[n(1)]
    Group(#[n(0)] Group),
    /// Amazon EC2, which `aws-exec-read` names: shown, and nobody here.
    #[n(2)]
    Ec2,
}

#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Grant {
    #[n(0)]
    pub grantee: Grantee,
    #[n(1)]
    pub permission: Permission,
}

/// The grants of one bucket or object, in the order they were given. The owner stands beside it, not in it: an owner can always
/// read and write the list, whatever it grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Acl(#[n(0)] Vec<Grant>);

/// More grants than an ACL may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyGrants;

/// Whom a list lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Nobody,
    /// The caller's account, which must permit its own users.
    Account,
    /// Everybody, or everybody with an access key.
    Public,
}

impl Acl {
    /// S3's limit.
    pub const MAX_GRANTS: usize = 100;

    /// Errors: TooManyGrants.
    pub fn new(grants: Vec<Grant>) -> Result<Self, TooManyGrants> {
        if grants.len() > Self::MAX_GRANTS { Err(TooManyGrants) } else { Ok(Self(grants)) }
    }
    /// The owner has full control and nobody else any: what a bucket or object has that was given no list.
    pub fn private(owner: &AccountId) -> Self {
        Self(vec![Grant { grantee: Grantee::Account(owner.clone()), permission: Permission::FullControl }])
    }
    pub fn grants(&self) -> &[Grant] {
        &self.0
    }
    /// Grants something to everybody or to everybody with an access key.
    pub fn is_public(&self) -> bool {
        self.0.iter().any(|grant| matches!(grant.grantee, Grantee::Group(group) if group.is_public()))
    }
    /// Exactly full control for one account, however often it is said.
    pub fn is_private_to(&self, owner: &AccountId) -> bool {
        let wanted = Grant { grantee: Grantee::Account(owner.clone()), permission: Permission::FullControl };
        !self.0.is_empty() && self.0.iter().all(|grant| *grant == wanted)
    }
    /// The widest way in which the list grants `needed` to an account, or to a caller without one.
    pub fn reach(&self, caller: Option<&AccountId>, needed: Permission) -> Reach {
        let public = self.granted(needed).any(|grantee| match grantee {
            Grantee::Group(Group::AllUsers) => true,
            Grantee::Group(Group::AuthenticatedUsers) => caller.is_some(),
            Grantee::Group(Group::LogDelivery) | Grantee::Account(_) | Grantee::Ec2 => false,
        });
        if public { Reach::Public } else { self.reach_of_accounts(caller, needed) }
    }
    /// The same where public grants do not count.
    pub fn reach_of_accounts(&self, caller: Option<&AccountId>, needed: Permission) -> Reach {
        let named = |grantee: &Grantee| matches!(grantee, Grantee::Account(account) if Some(account) == caller);
        if self.granted(needed).any(named) { Reach::Account } else { Reach::Nobody }
    }
    fn granted(&self, needed: Permission) -> impl Iterator<Item = &Grantee> {
        self.0.iter().filter(move |grant| grant.permission.covers(needed)).map(|grant| &grant.grantee)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reaches_whom_it_names() {
        let account = |id: &str| -> AccountId { id.parse().unwrap() };
        let (owner, other) = (account("111122223333"), account("444455556666"));
        let grant = |grantee, permission| Grant { grantee, permission };
        let check = |grants: &[Grant], caller: Option<&AccountId>, needed, expected| {
            assert_eq!(Acl::new(grants.to_vec()).unwrap().reach(caller, needed), expected, "{grants:?} {caller:?}");
        };
        let to_other = |permission| [grant(Grantee::Account(other.clone()), permission)];
        check(&to_other(Permission::Read), Some(&other), Permission::Read, Reach::Account);
        check(&to_other(Permission::Read), Some(&other), Permission::ReadAcp, Reach::Nobody);
        check(&to_other(Permission::FullControl), Some(&other), Permission::WriteAcp, Reach::Account);
        check(&to_other(Permission::Read), Some(&owner), Permission::Read, Reach::Nobody);
        check(&to_other(Permission::Read), None, Permission::Read, Reach::Nobody);
        let signed = [grant(Grantee::Group(Group::AuthenticatedUsers), Permission::Read)];
        check(&signed, Some(&other), Permission::Read, Reach::Public);
        check(&signed, None, Permission::Read, Reach::Nobody);
        check(&[grant(Grantee::Group(Group::AllUsers), Permission::Read)], None, Permission::Read, Reach::Public);
        check(&[grant(Grantee::Group(Group::LogDelivery), Permission::Write)], None, Permission::Write, Reach::Nobody);
        check(&[], Some(&owner), Permission::Read, Reach::Nobody);
        assert!(Acl::private(&owner).is_private_to(&owner) && !Acl::private(&owner).is_private_to(&other));
        assert!(Acl::new(vec![grant(Grantee::Ec2, Permission::Read); 101]).is_err());
    }
}
