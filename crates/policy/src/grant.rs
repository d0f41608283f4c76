//! Grants on KMS keys, as far as they decide. Source: KMS developer guide, "Grants in AWS KMS", "Using grant constraints".

use crate::principal::{Kind, Reach, Requester};

/// A grant's terms.
#[derive(Clone, Copy, Debug)]
pub struct GrantTerms<'a> {
    /// The ARN of a user, role, session or account root.
    pub grantee: &'a str,
    /// Without `kms:`.
    pub operations: &'a [String],
    /// `EncryptionContextEquals`, `EncryptionContextSubset`: pairs, in exact case.
    pub context_equals: Option<&'a [(String, String)]>,
    pub context_subset: Option<&'a [(String, String)]>,
}

impl GrantTerms<'_> {
    /// How the grant covers a call, as a principal of the key's policy would: an account delegates to its own policies.
    /// `context`: the encryption context of the call, `None` for an operation that constraints do not touch.
    pub fn cover(&self, who: &Requester<'_>, operation: &str, context: Option<&[(String, String)]>) -> Option<Reach> {
        let of_account = |account: &str| {
            self.grantee.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root")) == Some(account)
        };
        let reach = match who.kind {
            _ if who.account.is_some_and(of_account) => Reach::Account,
            Kind::Session { issuer_arn } if issuer_arn == self.grantee => Reach::Role,
            _ if who.arn == Some(self.grantee) => Reach::Caller,
            _ => return None,
        };
        if !self.operations.iter().any(|known| known == operation) {
            return None;
        }
        let Some(given) = context else { return Some(reach) };
        let has = |pair: &(String, String)| given.contains(pair);
        let equal = self.context_equals.is_none_or(|pairs| pairs.len() == given.len() && pairs.iter().all(has));
        let subset = self.context_subset.is_none_or(|pairs| pairs.iter().all(has));
        (equal && subset).then_some(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_grantee_its_operations_and_its_context() {
        let pairs = |text: &str| -> Vec<(String, String)> {
            text.split(' ').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
        };
        let user = Requester::of(Kind::User, "arn:aws:iam::111122223333:user/a", "111122223333");
        let session = Requester::of(
            Kind::Session { issuer_arn: "arn:aws:iam::111122223333:role/r" },
            "arn:aws:sts::111122223333:assumed-role/r/s",
            "111122223333",
        );
        for (grantee, who, equals, subset, given, reach) in [
            ("arn:aws:iam::111122223333:user/a", &user, None, None, "", Some(Reach::Caller)),
            ("arn:aws:iam::111122223333:root", &user, None, None, "", Some(Reach::Account)),
            ("arn:aws:iam::444455556666:root", &user, None, None, "", None),
            ("arn:aws:iam::111122223333:role/r", &session, None, None, "", Some(Reach::Role)),
            ("arn:aws:sts::111122223333:assumed-role/r/s", &session, None, None, "", Some(Reach::Caller)),
            ("arn:aws:iam::111122223333:user/a", &user, Some("a=1"), None, "a=1", Some(Reach::Caller)),
            ("arn:aws:iam::111122223333:user/a", &user, Some("a=1"), None, "a=1 b=2", None),
            ("arn:aws:iam::111122223333:user/a", &user, Some("A=1"), None, "a=1", None),
            ("arn:aws:iam::111122223333:user/a", &user, None, Some("a=1"), "a=1 b=2", Some(Reach::Caller)),
            ("arn:aws:iam::111122223333:user/a", &user, None, Some("a=1"), "b=2", None),
        ] {
            let (equals, subset, given) = (equals.map(pairs), subset.map(pairs), pairs(given));
            let operations = ["Decrypt".to_owned()];
            let terms = GrantTerms {
                grantee,
                operations: &operations,
                context_equals: equals.as_deref(),
                context_subset: subset.as_deref(),
            };
            assert_eq!(terms.cover(who, "Decrypt", Some(&given)), reach, "{grantee} {equals:?} {subset:?} {given:?}");
            assert_eq!(terms.cover(who, "Encrypt", Some(&given)), None);
        }
    }
}
