//! What "public" means for a bucket policy. Source: S3 user guide, "Blocking public access to your Amazon S3 storage", "The meaning of
//! public": an Allow is public unless it names its principals, or pins one of these keys to fixed values.

use crate::{condition::Pinned, document::Statement};

/// Keys that say who calls or from where.
const PINNING: &[&str] = &[
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// Whether an Allow lets in people nobody has named.
pub(crate) fn is_public(statement: &Statement) -> bool {
    let open = statement.principals.as_ref().is_some_and(crate::principal::Principals::is_open);
    open && !statement.conditions.iter().filter_map(|condition| condition.pinned()).any(|(key, pinned)| match pinned {
        Pinned::Networks(networks) => key == "aws:sourceip" && networks.iter().all(is_narrow),
        Pinned::Texts(values) => PINNING.contains(&key) && values.iter().all(|value| is_fixed(key, value)),
    })
}

fn is_narrow(network: &ipnet::IpNet) -> bool {
    match network {
        ipnet::IpNet::V4(network) => network.prefix_len() >= 8,
        ipnet::IpNet::V6(network) => network.prefix_len() >= 32,
    }
}

fn is_fixed(key: &str, value: &str) -> bool {
    let open = |text: &str| text.contains(['*', '?']) || text.contains("${");
    match key {
        // The sessions of one role.
        "aws:userid" => !open(value.strip_suffix(":*").unwrap_or(value)),
        // Access points of one account, whatever their name.
        "s3:dataaccesspointarn" => match value.rsplit_once(":accesspoint/") {
            Some((place, _)) => !open(place),
            None => !open(value),
        },
        _ => !open(value),
    }
}

#[cfg(test)]
mod tests {
    use crate::Policy;

    #[test]
    fn only_fixed_values_of_pinning_keys_make_a_policy_private() {
        for (principal, condition, public) in [
            (r#""*""#, "{}", true),
            (r#"{"AWS":["*","111122223333"]}"#, "{}", true),
            (r#"{"AWS":"111122223333"}"#, "{}", false),
            (r#"{"Service":"logging.s3.amazonaws.com"}"#, "{}", false),
            (r#""*""#, r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#, false),
            (r#""*""#, r#"{"StringLike":{"aws:PrincipalOrgID":"o-*"}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:SourceVpc":["vpc-1","vpc-?"]}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:SourceVpc":"vpc-${aws:username}"}}"#, true),
            (r#""*""#, r#"{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"ForAllValues:StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"StringLike":{"aws:userid":"AROAEXAMPLE:*"}}"#, false),
            (r#""*""#, r#"{"StringLike":{"aws:userid":"AROA*"}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, false),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","0.0.0.0/1"]}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}"#, false),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"2000::/3"}}"#, true),
            (r#""*""#, r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
            (
                r#""*""#,
                r#"{"ArnLike":{"s3:DataAccessPointArn":"arn:aws:s3:us-east-1:111122223333:accesspoint/*"}}"#,
                false,
            ),
            (
                r#""*""#,
                r#"{"StringEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"arn:aws:kms:us-east-1:111122223333:key/k"}}"#,
                false,
            ),
        ] {
            let policy = |effect: &str| {
                Policy::of_resource(&format!(
                    r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}}}"#
                ))
            };
            assert_eq!(policy("Allow").unwrap().is_public(), public, "{principal} {condition}");
            assert!(!policy("Deny").unwrap().is_public());
        }
    }
}
