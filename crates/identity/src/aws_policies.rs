//! The managed policies of AWS that Tresor has: those that speak of nothing but what it does. Source: the AWS managed policy reference.

use crate::{
    records::{PolicyRecord, PolicyVersion},
    world::Managed,
};
use std::sync::{Arc, OnceLock};
use tresor_model::Timestamp;

/// Name, id as AWS shows it, and document.
const POLICIES: &[(&str, &str, &str)] = &[
    (
        "AdministratorAccess",
        "ANPAIWMBCKSKIEE64ZLYK",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ),
    (
        "AmazonS3FullAccess",
        "ANPAIFIR6V6BVTRAHWINE",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","s3-object-lambda:*"],"Resource":"*"}]}"#,
    ),
    (
        "AmazonS3ReadOnlyAccess",
        "ANPAIZTJ4DXE7G6AGAE6M",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}"#,
    ),
    (
        "IAMFullAccess",
        "ANPAI7XKCFMBPM3QQRRVQ",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","organizations:DescribeAccount","organizations:DescribeOrganization","organizations:DescribeOrganizationalUnit","organizations:DescribePolicy","organizations:ListChildren","organizations:ListParents","organizations:ListPoliciesForTarget","organizations:ListRoots","organizations:ListPolicies","organizations:ListTargetsForPolicy"],"Resource":"*"}]}"#,
    ),
    (
        "IAMReadOnlyAccess",
        "ANPAJKSO7NDY4T57MWDSQ",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:GenerateCredentialReport","iam:GenerateServiceLastAccessedDetails","iam:Get*","iam:List*","iam:SimulateCustomPolicy","iam:SimulatePrincipalPolicy"],"Resource":"*"}]}"#,
    ),
];
/// 2015-02-06T18:40:00Z, when AWS made most of them.
const CREATED: Timestamp = Timestamp::from_millis(1_423_248_000_000);

/// All of them, by name.
pub fn all() -> &'static [Arc<Managed>] {
    static ALL: OnceLock<Vec<Arc<Managed>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let made = |(name, id, text): &(&str, &str, &str)| {
            let record = PolicyRecord {
                account: "000000000000".parse().expect("it has twelve digits"),
                name: (*name).to_owned(),
                path: "/".into(),
                id: (*id).to_owned(),
                created: CREATED,
                updated: CREATED,
                description: None,
                versions: vec![PolicyVersion { number: 1, text: (*text).to_owned(), created: CREATED }],
                default: 1,
                next: 2,
                tags: Vec::new(),
            };
            let managed = Managed::new(record).expect("a test reads each of them");
            Arc::new(Managed { aws: true, ..managed })
        };
        POLICIES.iter().map(made).collect()
    })
}

/// By `arn:aws:iam::aws:policy/NAME`.
pub(crate) fn find(arn: &str) -> Option<Arc<Managed>> {
    let name = arn.strip_prefix("arn:aws:iam::aws:policy/")?;
    all().iter().find(|managed| managed.record.name == name).cloned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_one_of_them_is_a_policy() {
        assert_eq!(super::all().len(), super::POLICIES.len());
        assert!(super::find("arn:aws:iam::aws:policy/AdministratorAccess").is_some());
        assert!(super::find("arn:aws:iam::111122223333:policy/AdministratorAccess").is_none());
    }
}
