//! Policies of users, groups, roles and sessions, and trust policies: `MalformedPolicyDocument`, 400. The order of the checks is the
//! order in which AWS answers.

use super::is_plain;
use crate::{
    document::{Form, MalformedPolicy, Policy},
    principal::Principals,
    syntax::{self, Document, Fault, Parts},
};
use std::collections::HashSet;

/// Reads an inline or managed policy. Errors: MalformedPolicy in IAM's words. Sizes are quotas: `size`, `counted_characters`.
pub fn identity_policy(text: &str) -> Result<Policy, MalformedPolicy> {
    if !is_plain(text) {
        return Err(MalformedPolicy::syntax());
    }
    let json = syntax::json(text).map_err(Fault::of_iam)?;
    let document = Document::read(&json).map_err(Fault::of_iam)?;
    if document.statements.iter().any(|parts| parts.principal.is_some()) {
        return Err(MalformedPolicy::because("Policy document should not specify a principal."));
    }
    for parts in &document.statements {
        if let Some(block) = parts.condition {
            crate::condition::Condition::read(block, true).map_err(|_| MalformedPolicy::syntax())?;
        }
    }
    if document.version != Some("2012-10-17") {
        return Err(MalformedPolicy::because("Policy document must be version 2012-10-17 or greater."));
    }
    let resources = document.statements.iter().flat_map(|parts| Parts::texts(parts.resource));
    let resource_fault = resources.filter_map(|text| resource(text).err()).next();
    if let Some(legacy @ MalformedPolicy(_)) = resource_fault.as_ref().filter(|fault| fault.0.contains("legacy")) {
        return Err(legacy.clone());
    }
    sids(&document)?;
    if document.statements.iter().any(|parts| Parts::texts(parts.action).next().is_none()) {
        return Err(MalformedPolicy::because("Policy statement must contain actions."));
    }
    if document.statements.iter().any(|parts| Parts::texts(parts.resource).next().is_none()) {
        return Err(MalformedPolicy::because("Policy statement must contain resources."));
    }
    if let Some(fault) = resource_fault {
        return Err(fault);
    }
    for text in document.statements.iter().flat_map(|parts| Parts::texts(parts.action)) {
        action(text)?;
    }
    for (_, key, _) in document.statements.iter().flat_map(Parts::conditions) {
        if !key.contains(':') {
            return Err(MalformedPolicy::because(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ));
        }
    }
    Policy::compile(text, &document, Form::Identity).map_err(Fault::of_iam)
}

/// Reads the policy handed over with AssumeRole or GetFederationToken. Errors: MalformedPolicy.
pub fn session_policy(text: &str) -> Result<Policy, MalformedPolicy> {
    identity_policy(text)
}

/// Reads a role's trust policy. `exists` as for a bucket policy. Errors: MalformedPolicy in IAM's words.
pub fn trust_policy(text: &str, exists: impl Fn(&str) -> bool) -> Result<Policy, MalformedPolicy> {
    let because = MalformedPolicy::because;
    if !is_plain(text) {
        return Err(MalformedPolicy::syntax());
    }
    let json = syntax::json(text).map_err(|_| because("This policy contains invalid Json"))?;
    let document = Document::read(&json).map_err(Fault::of_iam)?;
    for parts in &document.statements {
        if parts.resource.is_some() {
            return Err(because("Has prohibited field Resource."));
        }
        let (principal, negated) = parts.principal.ok_or_else(|| because("Missing required field Principal"))?;
        let principals = Principals::read(principal, negated)?;
        if let Some(stranger) = principals.aws_names().find(|name| !exists(name)) {
            return Err(MalformedPolicy(format!("Invalid principal in policy: \"AWS\":\"{stranger}\"")));
        }
        if Parts::texts(parts.action).next().is_none() {
            return Err(because("Policy statement must contain actions."));
        }
        for text in Parts::texts(parts.action) {
            action(text)?;
            if !is_trusting(text) {
                return Err(because("AssumeRole policy may only specify STS AssumeRole actions."));
            }
        }
    }
    sids(&document)?;
    Policy::compile(text, &document, Form::Trust).map_err(Fault::of_iam)
}

/// What a trust policy can speak of.
fn is_trusting(text: &str) -> bool {
    let trusting = ["sts:assumerole", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext"];
    let named = |name: &str| trusting.iter().any(|wanted| name.to_ascii_lowercase().starts_with(wanted));
    text != "*" && crate::actions::covered(text).iter().any(|action| named(&action.name))
}

fn sids(document: &Document<'_>) -> Result<(), MalformedPolicy> {
    let mut known = HashSet::new();
    for sid in document.statements.iter().filter_map(|parts| parts.sid) {
        if !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(MalformedPolicy::because(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
            ));
        }
        if !sid.is_empty() && !known.insert(sid) {
            return Err(MalformedPolicy::because("Statement IDs (SID) in a single policy must be unique."));
        }
    }
    Ok(())
}

fn action(text: &str) -> Result<(), MalformedPolicy> {
    if text == "*" {
        return Ok(());
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [_] => {
            Err(MalformedPolicy::because("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."))
        }
        [vendor, _]
            if !vendor.is_empty() && vendor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) =>
        {
            Ok(())
        }
        [vendor, _] => Err(MalformedPolicy(format!("Vendor {vendor} is not valid"))),
        _ => Err(MalformedPolicy::because("Actions/Condition can contain only one colon.")),
    }
}

fn resource(text: &str) -> Result<(), MalformedPolicy> {
    if text == "*" {
        return Ok(());
    }
    let said = |text: String| Err(MalformedPolicy(text));
    if !text.contains(':') {
        return said(format!("Resource {text} must be in ARN format or \"*\"."));
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, _] = parts.as_slice() else {
        return said("The policy failed legacy parsing".to_owned());
    };
    if *arn != "arn" {
        return said(format!("Resource {text} must be in ARN format or \"*\"."));
    }
    if !matches!(*partition, "aws" | "aws-cn" | "aws-us-gov" | "*") {
        return said(format!("Partition \"{partition}\" is not valid for resource \"{text}\"."));
    }
    if *service != "*" && (service.contains(['*', '?']) || service.is_empty()) {
        return said("Resource vendor must be fully qualified and cannot contain regexes.".to_owned());
    }
    match *service {
        "s3" if !region.is_empty() && *region != "*" && account.is_empty() => {
            said(format!("Resource {text} can not contain region information."))
        }
        "iam" if !region.is_empty() && *region != "*" => {
            said(format!("IAM resource {text} cannot contain region information."))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_policies_are_refused_in_aws_words() {
        let statement = |body: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{body}}}]}}"#);
        let ok = r#""Action":"s3:GetObject","Resource":"*""#;
        for (text, said) in [
            (statement(ok), ""),
            ("nothing".into(), "Syntax errors in policy."),
            (statement(&format!(r#"{ok},"Extra":1"#)), "Syntax errors in policy."),
            (statement(&format!(r#"{ok},"Condition":{{"StringSame":{{"aws:x":"y"}}}}"#)), "Syntax errors in policy."),
            (
                statement(ok).replace("2012-10-17", "2008-10-17"),
                "Policy document must be version 2012-10-17 or greater.",
            ),
            (statement(&format!(r#"{ok},"Principal":"*""#)), "Policy document should not specify a principal."),
            (statement(r#""Resource":"*""#), "Policy statement must contain actions."),
            (statement(r#""Action":[],"Resource":"*""#), "Policy statement must contain actions."),
            (statement(r#""Action":"s3:*""#), "Policy statement must contain resources."),
            (
                statement(r#""Action":"s3","Resource":"*""#),
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (statement(r#""Action":"a:b:c","Resource":"*""#), "Actions/Condition can contain only one colon."),
            (statement(r#""Action":"a a:x","Resource":"*""#), "Vendor a a is not valid"),
            (statement(r#""Action":"s3:*","Resource":"x""#), r#"Resource x must be in ARN format or "*"."#),
            (
                statement(r#""Action":"s3:*","Resource":"arn:b:c:d:e:f:g:h""#),
                r#"Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h"."#,
            ),
            (
                statement(r#""Action":"s3:*","Resource":"arn:aws:s*:::x""#),
                "Resource vendor must be fully qualified and cannot contain regexes.",
            ),
            (
                statement(r#""Action":"s3:*","Resource":"arn:aws:s3:us-east-1::example_bucket""#),
                "Resource arn:aws:s3:us-east-1::example_bucket can not contain region information.",
            ),
            (statement(r#""Action":"s3:*","Resource":"arn:aws:s3""#), "The policy failed legacy parsing"),
            (
                format!(
                    r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"a","Effect":"Allow",{ok}}},{{"Sid":"a","Effect":"Deny",{ok}}}]}}"#
                ),
                "Statement IDs (SID) in a single policy must be unique.",
            ),
        ] {
            let answer = identity_policy(&text).map(drop).map_err(|fault| fault.0);
            assert_eq!(answer.err().unwrap_or_default(), said, "{text}");
        }
    }

    #[test]
    fn trust_policies_are_refused_in_aws_words() {
        let statement = |body: &str| format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{body}}}}}"#);
        for (text, said) in [
            (statement(r#""Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole""#), ""),
            (
                statement(
                    r#""Principal":{"Federated":"idp.example.com"},"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"]"#,
                ),
                "",
            ),
            ("{".into(), "This policy contains invalid Json"),
            (
                statement(r#""Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole","Resource":"*""#),
                "Has prohibited field Resource.",
            ),
            (
                statement(r#""Principal":{"AWS":"444455556666"},"Action":"sts:AssumeRole""#),
                r#"Invalid principal in policy: "AWS":"444455556666""#,
            ),
            (
                statement(r#""Principal":"*","Action":"s3:GetObject""#),
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ),
            (statement(r#""Action":"sts:AssumeRole""#), "Missing required field Principal"),
        ] {
            let answer = trust_policy(&text, |name| name != "444455556666").map(drop).map_err(|fault| fault.0);
            assert_eq!(answer.err().unwrap_or_default(), said, "{text}");
        }
    }
}
