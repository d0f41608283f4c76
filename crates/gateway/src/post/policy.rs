//! The policy document of a POST form: who signed it says what may be posted. Texts recorded from AWS.
//! Source: S3 API reference, "Creating a POST Policy".

use crate::error::S3Error;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::Value;
use std::ops::RangeInclusive;
use tresor_model::Timestamp;

/// A policy that was read.
#[derive(Clone, Debug)]
pub(crate) struct PostPolicy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    test: Test,
    /// As an error shows it.
    text: String,
}

#[derive(Clone, Debug)]
enum Test {
    /// The field, in lower case, and its value.
    Equals(String, String),
    StartsWith(String, String),
    /// Bytes of the file.
    Length(RangeInclusive<u64>),
    /// Well-formed, and true of no form.
    Never,
}

fn invalid(what: &str) -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, "InvalidPolicyDocument", format!("Invalid Policy: {what}"))
}

fn refused(why: &str) -> S3Error {
    S3Error::forbidden(format!("Invalid according to Policy: {why}"))
}

impl PostPolicy {
    /// Reads the `policy` field: base64 of JSON. Errors: InvalidPolicyDocument.
    pub(crate) fn read(field: &str) -> Result<Self, S3Error> {
        let text = STANDARD.decode(field).map_err(|_| invalid("invalid Base64 encoding."))?;
        let root: Value = serde_json::from_slice(&text).map_err(|_| invalid("Invalid JSON."))?;
        let root = root.as_object().ok_or_else(|| invalid("Invalid JSON."))?;
        if let Some(unknown) = root.keys().find(|name| !matches!(name.as_str(), "expiration" | "conditions")) {
            return Err(invalid(&format!("Unexpected: '{}'", unknown.to_lowercase())));
        }
        let expiration = root.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let expiration = expiration.as_str().ok_or_else(|| invalid("Invalid JSON."))?;
        // UTC and nothing else.
        let at = Timestamp::parse_iso8601(expiration).filter(|_| expiration.ends_with('Z') && expiration.contains('T'));
        let at = at.ok_or_else(|| invalid(&format!("Invalid 'expiration' value: '{expiration}'")))?;
        let conditions = root.get("conditions").ok_or_else(|| invalid("Policy missing conditions."))?;
        let conditions = conditions.as_array().ok_or_else(|| invalid("Invalid 'conditions' value: must be a List."))?;
        let conditions = conditions.iter().map(Condition::read).collect::<Result<_, _>>()?;
        Ok(Self { expiration: at, conditions })
    }

    /// Holds a form against the policy: the bytes that its file may have. `fields` are names in lower case and values, among them
    /// `bucket`, the bucket that is posted to. Errors: AccessDenied.
    pub(crate) fn judge(&self, now: Timestamp, fields: &[(String, String)]) -> Result<RangeInclusive<u64>, S3Error> {
        if now >= self.expiration {
            return Err(refused("Policy expired."));
        }
        let mut length = 0..=u64::MAX;
        let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        for condition in &self.conditions {
            let holds = match &condition.test {
                Test::Equals(name, wanted) => value(name) == Some(wanted),
                Test::StartsWith(name, prefix) => match value(name) {
                    None => false,
                    // A list of types, each of which must begin so.
                    Some(found) if name == "content-type" => {
                        found.split(',').all(|kind| kind.trim_start().starts_with(prefix.as_str()))
                    }
                    Some(found) => found.starts_with(prefix.as_str()),
                },
                Test::Length(range) => {
                    length = *length.start().max(range.start())..=*length.end().min(range.end());
                    true
                }
                Test::Never => false,
            };
            if !holds {
                return Err(refused(&format!("Policy Condition failed: {}", condition.text)));
            }
        }
        let extra = fields.iter().map(|(name, _)| name.as_str()).find(|name| !is_exempt(name) && !self.covers(name));
        match extra {
            Some(name) => Err(refused(&format!("Extra input fields: {name}"))),
            None => Ok(length),
        }
    }

    fn covers(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| match &condition.test {
            Test::Equals(known, _) | Test::StartsWith(known, _) => known == name,
            Test::Length(_) | Test::Never => false,
        })
    }
}

/// Fields that need no condition.
fn is_exempt(name: &str) -> bool {
    matches!(name, "x-amz-signature" | "file" | "policy" | "awsaccesskeyid" | "signature")
        || name.starts_with("x-ignore-")
}

impl Condition {
    fn read(value: &Value) -> Result<Self, S3Error> {
        match value {
            Value::Object(simple) => {
                let mut members = simple.iter();
                let (Some((name, wanted)), None) = (members.next(), members.next()) else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                    ));
                };
                let wanted = match wanted {
                    Value::String(wanted) => wanted,
                    Value::Null => return Err(invalid("Invalid JSON.")),
                    _ => return Err(invalid("Invalid Simple-Condition: value must be a string.")),
                };
                let text = shown("eq", &format!("${name}"), wanted);
                Ok(Self { test: Test::Equals(name.to_ascii_lowercase(), wanted.clone()), text })
            }
            Value::Array(items) => Self::read_list(items),
            _ => Err(invalid("Invalid condition test: must be a List or Object.")),
        }
    }

    fn read_list(items: &[Value]) -> Result<Self, S3Error> {
        let operation = items.first().ok_or_else(|| invalid("Invalid Condition: missing operation identifier."))?;
        let operation = operation.as_str().ok_or_else(|| invalid("Invalid JSON."))?;
        let lower = operation.to_ascii_lowercase();
        if !matches!(lower.as_str(), "eq" | "starts-with" | "content-length-range") {
            return Err(invalid(&format!("Invalid Condition: unknown operation '{operation}'.")));
        }
        let [_, first, second] = items else {
            return Err(invalid(&format!("Invalid {operation}: wrong number of arguments.")));
        };
        let operand = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            // A bound is a whole number, or the text of one.
            Value::Number(number) if number.is_u64() && lower == "content-length-range" => Ok(number.to_string()),
            _ => Err(invalid("Invalid JSON.")),
        };
        let (first, second) = (operand(first)?, operand(second)?);
        let test = match lower.as_str() {
            "content-length-range" => match (first.parse(), second.parse()) {
                (Ok(least), Ok(most)) => Test::Length(least..=most),
                _ => Test::Never,
            },
            operation => match first.strip_prefix('$') {
                None => Test::Never,
                Some(name) if operation == "eq" => Test::Equals(name.to_ascii_lowercase(), second.clone()),
                Some(name) => Test::StartsWith(name.to_ascii_lowercase(), second.clone()),
            },
        };
        Ok(Self { test, text: shown(operation, &first, &second) })
    }
}

/// `["eq", "$key", "value"]`. A customer's key is not shown: errors are written down.
fn shown(operation: &str, name: &str, value: &str) -> String {
    let secret = name.eq_ignore_ascii_case("$x-amz-server-side-encryption-customer-key");
    let items = [operation, name, if secret { "..." } else { value }];
    format!("[{}]", items.map(|item| Value::from(item).to_string()).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conditions: &str) -> Result<PostPolicy, S3Error> {
        let text = format!("{{\"expiration\": \"2026-11-25T12:00:00.000Z\", \"conditions\": {conditions}}}");
        PostPolicy::read(&STANDARD.encode(text))
    }

    #[test]
    fn documents_that_cannot_be_read() {
        let check = |document: &str, expected: &str| {
            let error = PostPolicy::read(&STANDARD.encode(document)).unwrap_err();
            assert_eq!((error.code, error.message), ("InvalidPolicyDocument", format!("Invalid Policy: {expected}")));
        };
        check("", "Invalid JSON.");
        check("[]", "Invalid JSON.");
        check("{}", "Policy missing expiration.");
        check("{\"Statement\": []}", "Unexpected: 'statement'");
        check("{\"expiration\": \"2026-11-25T12:00:00Z\"}", "Policy missing conditions.");
        check("{\"expiration\": \"2026-11-25 12:00:00Z\"}", "Invalid 'expiration' value: '2026-11-25 12:00:00Z'");
        check(
            "{\"expiration\": \"2026-11-25T12:00:00+02:00\"}",
            "Invalid 'expiration' value: '2026-11-25T12:00:00+02:00'",
        );
        let condition = |condition: &str, expected: &str| {
            check(&format!("{{\"expiration\": \"2026-11-25T12:00:00Z\", \"conditions\": {condition}}}"), expected);
        };
        condition("{}", "Invalid 'conditions' value: must be a List.");
        condition("[7]", "Invalid condition test: must be a List or Object.");
        condition("[[]]", "Invalid Condition: missing operation identifier.");
        condition("[[\"like\", \"$key\", \"\"]]", "Invalid Condition: unknown operation 'like'.");
        condition("[[\"content-length-range\", 0]]", "Invalid content-length-range: wrong number of arguments.");
        condition("[[\"content-length-range\", -1, 0]]", "Invalid JSON.");
        condition("[[\"content-length-range\", 0, 5.5]]", "Invalid JSON.");
        condition("[{\"a\": 1}]", "Invalid Simple-Condition: value must be a string.");
        let both = "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
        condition("[{}]", both);
        condition("[{\"a\": \"b\", \"c\": \"d\"}]", both);
        assert_eq!(PostPolicy::read("***").unwrap_err().message, "Invalid Policy: invalid Base64 encoding.");
    }

    #[test]
    fn what_a_policy_lets_through() {
        let form: Vec<(String, String)> =
            [("bucket", "b"), ("key", "user/x"), ("content-type", "image/png, image/gif")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec();
        let now = Timestamp::parse_iso8601("2026-11-25T11:00:00Z").unwrap();
        let check = |rest: &str, expected: Result<RangeInclusive<u64>, &str>| {
            let conditions = format!("[{{\"bucket\": \"b\"}}, [\"StArTs-With\", \"$KEY\", \"user/\"]{rest}]");
            let judged = read(&conditions).unwrap().judge(now, &form);
            let expected = expected.map_err(|why| format!("Invalid according to Policy: {why}"));
            assert_eq!(judged.map_err(|error| error.message), expected, "{rest}");
        };
        let kind = ", [\"starts-with\", \"$Content-Type\", \"image/\"]";
        check(kind, Ok(0..=u64::MAX));
        check("", Err("Extra input fields: content-type"));
        check(&format!("{kind}, [\"content-length-range\", \"5\", 10], [\"content-length-range\", 0, 7]"), Ok(5..=7));
        check(
            ", [\"starts-with\", \"$Content-Type\", \"image/p\"]",
            Err("Policy Condition failed: [\"starts-with\", \"$Content-Type\", \"image/p\"]"),
        );
        check(
            &format!("{kind}, {{\"acl\": \"a\\\"b\"}}"),
            Err("Policy Condition failed: [\"eq\", \"$acl\", \"a\\\"b\"]"),
        );
        check(
            &format!("{kind}, [\"starts-with\", \"$acl\", \"\"]"),
            Err("Policy Condition failed: [\"starts-with\", \"$acl\", \"\"]"),
        );
        check(
            &format!("{kind}, [\"eq\", \"key\", \"user/x\"]"),
            Err("Policy Condition failed: [\"eq\", \"key\", \"user/x\"]"),
        );
        check(
            &format!("{kind}, [\"content-length-range\", \"test\", \"10\"]"),
            Err("Policy Condition failed: [\"content-length-range\", \"test\", \"10\"]"),
        );
        let late = Timestamp::parse_iso8601("2026-11-25T12:00:00Z").unwrap();
        let expired = read("[]").unwrap().judge(late, &[]).unwrap_err().message;
        assert_eq!(expired, "Invalid according to Policy: Policy expired.");
        let uncovered = read("[[\"starts-with\", \"$key\", \"\"]]").unwrap();
        let posted = [("bucket".to_owned(), "b".to_owned()), ("key".to_owned(), "k".to_owned())];
        assert_eq!(
            uncovered.judge(now, &posted).unwrap_err().message,
            "Invalid according to Policy: Extra input fields: bucket"
        );
    }
}
