//! PutBucketPolicy: `MalformedPolicy`, 400.

use super::size;
use crate::{
    actions::{self, Action, Target},
    context::Context,
    document::{Form, MalformedPolicy, Policy},
    pattern::{Allows, Pattern},
    principal::Principals,
    syntax::{self, Document, Parts},
};

/// Reads a policy for the bucket. `exists` tells whether a principal that is named by ARN, account or id is somebody.
/// Errors: MalformedPolicy in S3's words, the first fault in the order of the document.
pub fn bucket_policy(text: &str, bucket: &str, exists: impl Fn(&str) -> bool) -> Result<Policy, MalformedPolicy> {
    if text.len() > size::BUCKET {
        return Err(MalformedPolicy::because("Your policy exceeds the maximum allowed document size"));
    }
    if !text.starts_with('{') {
        return Err(syntax::Fault::NotAnObject.of_s3());
    }
    let json = syntax::json(text).map_err(syntax::Fault::of_s3)?;
    let document = Document::read(&json).map_err(syntax::Fault::of_s3)?;
    for parts in &document.statements {
        statement(parts, bucket, &exists)?;
    }
    Policy::compile(text, &document, Form::Resource).map_err(syntax::Fault::of_s3)
}

fn statement(parts: &Parts<'_>, bucket: &str, exists: &impl Fn(&str) -> bool) -> Result<(), MalformedPolicy> {
    let missing = |field: &str| MalformedPolicy(format!("Missing required field {field}"));
    let (principal, negated) = parts.principal.ok_or_else(|| missing("Principal"))?;
    let (_, not_action) = parts.action.ok_or_else(|| missing("Action"))?;
    let (_, not_resource) = parts.resource.ok_or_else(|| missing("Resource"))?;
    if negated && parts.allow {
        return Err(MalformedPolicy::because("Allow with NotPrincipal is not allowed."));
    }
    let principals = Principals::read(principal, negated)?;
    if !principals.aws_names().all(exists) {
        return Err(MalformedPolicy::because("Invalid principal in policy"));
    }
    let mut acts = Vec::new();
    for text in Parts::texts(parts.action) {
        let covered: Vec<&Action> =
            actions::covered(text).into_iter().filter(|action| action.name.starts_with("s3:")).collect();
        if covered.is_empty() {
            return Err(MalformedPolicy::because("Policy has invalid action"));
        }
        acts.push(covered);
    }
    let places = Parts::texts(parts.resource).map(|text| place(text, bucket)).collect::<Option<Vec<_>>>();
    let places = places.filter(|places| !places.is_empty());
    let places = places.ok_or_else(|| MalformedPolicy::because("Policy has invalid resource"))?;
    if acts.is_empty() {
        return Err(MalformedPolicy::because("Policy has invalid action"));
    }
    if !not_action && !not_resource {
        let applies = |action: &&Action| match action.target {
            Target::Bucket => places.iter().any(|place| place.bucket),
            Target::Object => places.iter().any(|place| place.objects),
            Target::Key | Target::Alias | Target::Other => false,
        };
        for covered in &mut acts {
            covered.retain(applies);
            if covered.is_empty() {
                return Err(MalformedPolicy::because("Action does not apply to any resource(s) in statement"));
            }
        }
    }
    conditions(parts, &acts, not_action)
}

fn conditions(parts: &Parts<'_>, acts: &[Vec<&Action>], not_action: bool) -> Result<(), MalformedPolicy> {
    if let Some(block) = parts.condition {
        // Whether variables count changes nothing here.
        crate::condition::Condition::read(block, true)?;
    }
    for (_, key, _) in parts.conditions() {
        if !actions::key_exists(key) || !key.contains(':') {
            return Err(MalformedPolicy::because("Policy has an invalid condition key"));
        }
        if !not_action && !acts.iter().all(|covered| actions::key_fits(key, covered)) {
            return Err(MalformedPolicy::because(
                "Conditions do not apply to combination of actions and resources in statement",
            ));
        }
    }
    Ok(())
}

/// What a resource of the policy can be.
struct Place {
    bucket: bool,
    objects: bool,
}

/// Errors: nothing of this bucket.
fn place(text: &str, bucket: &str) -> Option<Place> {
    let path = text.strip_prefix("arn:aws:s3:::")?;
    let (name, key) = path.split_once('/').map_or((path, None), |(name, key)| (name, Some(key)));
    // A variable may stand for the name.
    let wild = name.contains('*') || name.contains("${");
    let pattern = match name.contains("${") {
        true => return Some(Place { bucket: key.is_none(), objects: true }),
        false => Pattern::compile(name, Allows { wildcards: true, variables: false }),
    };
    if pattern.matches(bucket, &Context::default(), false) != Some(true) {
        return None;
    }
    // A `*` of the name reaches over the slash.
    Some(Place { bucket: key.is_none(), objects: key.is_some() || wild })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statement: &str) -> String {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        match bucket_policy(&text, "vault", |name| !name.contains("nobody")) {
            Ok(_) => "ok".into(),
            Err(MalformedPolicy(text)) => text,
        }
    }

    #[test]
    fn statements_are_refused_in_aws_words() {
        let action = "Policy has invalid action";
        let resource = "Policy has invalid resource";
        let applies = "Action does not apply to any resource(s) in statement";
        let principal = "Invalid principal in policy";
        let conditions = "Conditions do not apply to combination of actions and resources in statement";
        for (who, what, place, condition, said) in [
            (r#""*""#, r#""s3:GetObject""#, r#""arn:aws:s3:::vault/*""#, "{}", "ok"),
            (r#""*""#, r#""*""#, r#"["arn:aws:s3:::vault","arn:aws:s3:::vault/a"]"#, "{}", "ok"),
            (r#""*""#, r#""s3:*""#, r#""arn:aws:s3:::vault""#, "{}", "ok"),
            (r#""*""#, r#"["s3:ListBucket","s3:GetObject"]"#, r#""arn:aws:s3:::vault*""#, "{}", "ok"),
            (r#""*""#, r#""s3:PutFriday""#, r#""arn:aws:s3:::vault/*""#, "{}", action),
            (r#""*""#, r#""kms:Decrypt""#, r#""arn:aws:s3:::vault/*""#, "{}", action),
            (r#""*""#, r#"[]"#, r#""arn:aws:s3:::vault/*""#, "{}", action),
            (r#""*""#, r#""s3:GetObject""#, r#""arn:aws:s3:::vaults/*""#, "{}", resource),
            (r#""*""#, r#""s3:GetObject""#, r#""*""#, "{}", resource),
            (r#""*""#, r#""s3:GetObject""#, r#"[]"#, "{}", resource),
            (r#""*""#, r#""s3:GetObject""#, r#""arn:aws:s3:::vault""#, "{}", applies),
            (r#""*""#, r#""s3:ListBucket""#, r#""arn:aws:s3:::vault/*""#, "{}", applies),
            (r#""*""#, r#"["s3:GetObject","s3:ListBucket"]"#, r#""arn:aws:s3:::vault/*""#, "{}", applies),
            (r#""*""#, r#""s3:ListAllMyBuckets""#, r#""arn:aws:s3:::vault""#, "{}", applies),
            (r#""alice""#, r#""s3:GetObject""#, r#""arn:aws:s3:::vault/*""#, "{}", principal),
            (
                r#"{"AWS":"arn:aws:iam::111122223333:user/nobody"}"#,
                r#""s3:GetObject""#,
                r#""arn:aws:s3:::vault/*""#,
                "{}",
                principal,
            ),
            (
                r#""*""#,
                r#""s3:GetObject""#,
                r#""arn:aws:s3:::vault/*""#,
                r#"{"StringEquals":{"s3:prefix":"x"}}"#,
                conditions,
            ),
            (
                r#""*""#,
                r#""s3:GetObject""#,
                r#""arn:aws:s3:::vault/*""#,
                r#"{"StringEquals":{"s3:nothing":"x"}}"#,
                "Policy has an invalid condition key",
            ),
            (
                r#""*""#,
                r#""s3:GetObject""#,
                r#""arn:aws:s3:::vault/*""#,
                r#"{"StringSame":{"s3:prefix":"x"}}"#,
                "Invalid Condition type : StringSame",
            ),
            (
                r#""*""#,
                r#""s3:GetObject""#,
                r#""arn:aws:s3:::vault/*""#,
                r#"{"NumericLessThan":{"s3:TlsVersion":"x"}}"#,
                "Invalid value for NumericLessThan : x",
            ),
            (
                r#""*""#,
                r#""s3:*""#,
                r#"["arn:aws:s3:::vault","arn:aws:s3:::vault/*"]"#,
                r#"{"Bool":{"aws:SecureTransport":false}}"#,
                "ok",
            ),
        ] {
            let statement = format!(
                r#"{{"Sid":"a b","Effect":"Deny","Principal":{who},"Action":{what},"Resource":{place},"Condition":{condition}}}"#
            );
            assert_eq!(check(&statement), said, "{statement}");
        }
    }

    #[test]
    fn documents_are_refused_in_aws_words() {
        let first_byte = "Policies must be valid JSON and the first byte must be '{'";
        for (text, said) in [
            ("", first_byte),
            (" {}", first_byte),
            ("{", "This policy contains invalid Json"),
            (r#"{"Version":"2012-10-17","Version":"2012-10-17"}"#, "This policy contains invalid Json"),
            ("{}", "Missing required field Statement"),
            (r#"{"Statement":[]}"#, "Could not parse the policy: Statement is empty!"),
            (r#"{"Version":"2015-01-01","Statement":[]}"#, "The policy must contain a valid version string"),
            (r#"{"Statement":{"Effect":"hello"}}"#, "Invalid effect: hello"),
            (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#, "Missing required field Principal"),
        ] {
            assert_eq!(bucket_policy(text, "vault", |_| true).map(drop), Err(MalformedPolicy(said.into())), "{text}");
        }
        let long = format!(r#"{{"Statement":"{}"}}"#, "x".repeat(size::BUCKET));
        assert!(bucket_policy(&long, "vault", |_| true).unwrap_err().0.contains("maximum"));
    }
}
