//! `tresor policy lint FILE`: what a bucket policy lets through, and where it does not do what its author may think.

use super::uploads::{Guard, SAID, WAYS};
use std::path::Path;
use tresor_policy::{Context, Policy, Seen, Statement, bucket_policy};

const SSE: &str = "s3:x-amz-server-side-encryption";
const SSE_KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";
const EXAMPLE_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Reads a bucket policy and tells about it. Errors: a file that cannot be read; a policy that PutBucketPolicy would refuse.
pub fn lint(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    report(&text)
}

fn report(text: &str) -> Result<String, String> {
    let bucket = text.split_once("arn:aws:s3:::").map_or("example-bucket", |(_, rest)| {
        rest.split(['/', '"', '*', '?']).next().filter(|name| !name.is_empty()).unwrap_or("example-bucket")
    });
    // Nobody can be looked up here.
    let policy = bucket_policy(text, bucket, |_| true).map_err(|fault| format!("MalformedPolicy: {fault}"))?;
    let mut report = String::new();
    let mut line = |text: &str| report.push_str(&format!("{text}\n"));
    for warning in warnings(&policy) {
        line(&format!("warning: {warning}"));
    }
    let key = key_of(&policy).unwrap_or_else(|| EXAMPLE_KEY.to_owned());
    line(&format!(
        "uploads to {bucket} by a user of its account who may otherwise write, over TLS 1.3; this key: {key}"
    ));
    let guard = Guard::new(policy, bucket, &key)?;
    for (kms, name) in [(false, "AES256"), (true, "aws:kms with this key")] {
        let mut head = format!("{:<24}", format!("default {name}"));
        for (_, way) in WAYS {
            head.push_str(&format!(" {way:<10}"));
        }
        line(head.trim_end());
        for (said, name) in SAID {
            let mut row = format!("  {name:<22}");
            for (way, _) in WAYS {
                let mark = if guard.passes(said, way, kms) { "passes" } else { "refused" };
                row.push_str(&format!(" {mark:<10}"));
            }
            line(row.trim_end());
        }
    }
    Ok(report)
}

/// The key that the policy speaks of.
fn key_of(policy: &Policy) -> Option<String> {
    let none = Context::default();
    let statements = policy.statements().iter();
    let mut wanted = statements.flat_map(|statement| {
        let about_keys = statement.seen(&none).filter(|seen| seen.key.eq_ignore_ascii_case(SSE_KEY));
        about_keys.flat_map(|seen| seen.wanted.to_vec()).collect::<Vec<_>>()
    });
    wanted.find(|arn| arn.starts_with("arn:aws:kms:") && !arn.contains(['*', '?', '$']))
}

fn warnings(policy: &Policy) -> Vec<String> {
    let mut warnings = Vec::new();
    if policy.is_public() {
        warnings.push("the policy is public: it allows people it does not name".to_owned());
    }
    for statement in policy.statements() {
        let name = match &statement.sid {
            Some(sid) => format!("statement {} ({sid})", statement.index + 1),
            None => format!("statement {}", statement.index + 1),
        };
        traps(statement, |text| warnings.push(format!("{name}: {text}")));
    }
    warnings
}

/// The traps of encryption policies.
fn traps(statement: &Statement, mut warn: impl FnMut(&str)) {
    let none = Context::default();
    let seen: Vec<Seen<'_>> = statement.seen(&none).collect();
    let spared = |key: &str| {
        let present = |seen: &Seen<'_>| {
            seen.operator.eq_ignore_ascii_case("Null")
                && seen.key.eq_ignore_ascii_case(key)
                && seen.wanted.iter().any(|value| value.eq_ignore_ascii_case("false"))
        };
        seen.iter().any(present)
    };
    for seen in &seen {
        let (operator, key) = (seen.operator.to_ascii_lowercase(), seen.key.to_ascii_lowercase());
        let about_encryption = key.starts_with(SSE);
        if statement.allows() && about_encryption {
            warn(
                "an Allow with a condition on encryption forbids nothing: any other Allow lets the upload through; write a Deny",
            );
        }
        if about_encryption && operator.starts_with("forallvalues:") {
            warn("ForAllValues holds for a request without the header; this key has one value, leave the prefix out");
        }
        let negated = operator.contains("notequals") || operator.contains("notlike");
        if !statement.allows() && about_encryption && negated && !spared(&key) && !operator.starts_with("forallvalues:")
        {
            warn(if key == SSE {
                "requests without the header are refused, even where the bucket has a default, and with or without IfExists; add \"Null\": {\"…\": \"false\"} to spare them. Deliveries that send no header, like server access logs, are refused too"
            } else {
                "requests that bring no such key are refused, with or without IfExists"
            });
        }
        let values = |wanted: &str| seen.wanted.iter().any(|value| value == wanted);
        if key == SSE && values("aws:kms") && !values("aws:kms:dsse") {
            warn("aws:kms:dsse is another value than aws:kms");
        }
        let not_an_arn = |value: &String| !value.starts_with("arn:") && !value.contains(['*', '$']);
        if key == SSE_KEY && operator != "null" && seen.wanted.iter().any(not_an_arn) {
            warn("the key is compared by its ARN: an id or an alias never matches");
        }
    }
    let everything = |action: &str| {
        let who = tresor_policy::Requester::ANONYMOUS;
        let question = tresor_policy::Question { who, action, resource: "arn:aws:s3:::", context: &none };
        statement.speaks_of_action(&question)
    };
    if !statement.allows() && seen.is_empty() && statement.names_everybody() && everything("s3:PutBucketPolicy") {
        warn("it denies everybody the change of the policy: only the root of the owning account can take it back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(statement: &str) -> String {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        report(&text).unwrap_or_else(|error| error)
    }

    #[test]
    fn traps_are_named() {
        let statement = |effect: &str, condition: &str| {
            format!(
                r#"{{"Sid":"Guard","Effect":"{effect}","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}"#
            )
        };
        for (effect, condition, said) in [
            ("Allow", r#"{"StringEquals":{"s3:x-amz-server-side-encryption":"AES256"}}"#, "forbids nothing"),
            ("Allow", "{}", "the policy is public"),
            (
                "Deny",
                r#"{"ForAllValues:StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}"#,
                "ForAllValues",
            ),
            (
                "Deny",
                r#"{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}"#,
                "without the header are refused",
            ),
            ("Deny", r#"{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}"#, "dsse"),
            (
                "Deny",
                r#"{"StringNotEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"alias/x"}}"#,
                "by its ARN",
            ),
            ("Deny", r#"{"StringSame":{"aws:x":"y"}}"#, "MalformedPolicy: Invalid Condition type : StringSame"),
        ] {
            let told = told(&statement(effect, condition));
            assert!(told.contains(said), "{told}");
        }
        let spared = r#"{"Null":{"s3:x-amz-server-side-encryption":"false"},"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}"#;
        assert!(!told(&statement("Deny", spared)).contains("warning"));
        let all =
            r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#;
        assert!(told(all).contains("only the root"));
    }

    #[test]
    fn the_table_shows_both_defaults_and_every_way() {
        let told = told(
            r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"Null":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"true"}}}"#,
        );
        let rows: Vec<&str> = told.lines().filter(|line| line.starts_with("  no header")).collect();
        assert_eq!(rows.len(), 2, "{told}");
        assert!(rows[0].matches("refused").count() == 4 && rows[1].matches("passes").count() == 4, "{told}");
    }
}
