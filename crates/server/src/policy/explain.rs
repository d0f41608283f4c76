//! `tresor policy explain`: the decision on one request, the statement that made it, and what every statement saw.

use super::judge::{Asking, PolicySet, read_context};
use serde_json::{Value, json};
use std::path::Path;
use tresor_policy::{Bindings, Decision, Effect, NamedCaller, Policy, PolicyKind, Question, Reason, Statement};

/// Reads `{"policies": {...}, "request": {"principal", "action", "resource", "resource_account", "context"}}`, as a case of `check`
/// without its expectation, and answers with the decision. Errors: a file that cannot be read or says something else.
pub fn explain(file: &Path) -> Result<Value, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let document: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    answer(&document).map_err(|error| wrong(&error))
}

fn answer(document: &Value) -> Result<Value, String> {
    let request = &document["request"];
    let needed = |name: &str| request[name].as_str().ok_or_else(|| format!("the request has no {name}"));
    let (principal, action, resource) = (needed("principal")?, needed("action")?, needed("resource")?);
    let set = PolicySet::read(&document["policies"], Some(action))?;
    let caller = NamedCaller::parse(principal).ok_or_else(|| format!("{principal} is no principal"))?;
    let context = match request.get("context") {
        Some(context) => read_context(context)?,
        None => tresor_policy::Context::default(),
    };
    let asking = Asking {
        caller: &caller,
        action,
        resource,
        resource_account: request["resource_account"].as_str().or(caller.account()).unwrap_or_default(),
        context: &context,
        grants: &[],
        encryption_context: &[],
        restrict_public_buckets: document["settings"]["restrict_public_buckets"].as_bool().unwrap_or(false),
    };
    let (decision, question) = (asking.decide(&set), asking.question());
    Ok(told_about(&decision, &question, set.all(), set.boundary.is_some()))
}

/// A decision that was made by what is stored.
pub struct Told<'a> {
    pub bindings: &'a Bindings,
    /// The policy of the bucket, key or role.
    pub resource: Option<&'a Policy>,
    pub question: &'a Question<'a>,
    pub decision: &'a Decision<'a>,
}

/// The same answer, with the question as it was understood.
pub fn answer_stored(told: &Told<'_>) -> Value {
    let Told { bindings, resource, question, decision } = told;
    let named = |kind: PolicyKind| move |policy| (kind.name(), policy);
    let own = bindings.identity.iter().map(|policy| (PolicyKind::Identity.name(), &**policy));
    let boundary = bindings.boundary.iter().map(|policy| (PolicyKind::Boundary.name(), &**policy));
    let session = bindings.session.iter().flat_map(|policies| policies.iter());
    let session = session.map(|policy| (PolicyKind::Session.name(), &**policy));
    let all = own.chain(boundary).chain(session).chain(resource.iter().copied().map(named(PolicyKind::Resource)));
    let mut answer = told_about(decision, question, all, bindings.boundary.is_some());
    let context: serde_json::Map<String, Value> =
        question.context.iter().map(|(key, values)| (key.to_owned(), json!(values))).collect();
    answer["request"] = json!({
        "principal": question.who.arn.unwrap_or("anonymous"),
        "action": question.action,
        "resource": question.resource,
        "context": context,
    });
    answer
}

fn told_about<'p>(
    decision: &Decision<'_>,
    question: &Question<'_>,
    policies: impl Iterator<Item = (&'static str, &'p Policy)>,
    bounded: bool,
) -> Value {
    let decided_by = decision
        .statement
        .map(|(kind, statement)| json!({"policy": kind.name(), "statement": told(statement, question)}));
    let considered = policies.flat_map(|(side, policy)| {
        let spoken = policy.statements().iter().filter(|statement| statement.concerns(question, bounded));
        spoken.map(|statement| json!({"policy": side, "statement": told(statement, question)})).collect::<Vec<_>>()
    });
    json!({
        "decision": match decision.effect {
            Effect::Allow => "allow",
            Effect::ExplicitDeny => "explicit_deny",
            Effect::ImplicitDeny => "implicit_deny",
        },
        "because": match decision.reason {
            Reason::Granted => "a grant or an access control list allows it".to_owned(),
            Reason::Root => "the account's root may".to_owned(),
            _ => decision.because(question.action),
        },
        "decided_by": decided_by,
        "considered": considered.collect::<Vec<_>>(),
    })
}

/// A statement and the values it saw.
fn told(statement: &Statement, question: &Question<'_>) -> Value {
    let conditions = statement.seen(question.context).map(|seen| {
        json!({"operator": seen.operator, "key": seen.key, "wanted": seen.wanted, "saw": seen.values, "holds": seen.holds})
    });
    json!({
        "number": statement.index + 1,
        "sid": statement.sid,
        "effect": if statement.allows() { "Allow" } else { "Deny" },
        "conditions": conditions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_that_refused_and_what_it_saw_are_named() {
        let document = json!({
            "policies": {
                "identity": [{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}],
                "resource": {"Version": "2012-10-17", "Statement": [{
                    "Sid": "Guard", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*",
                    "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}},
                }]},
            },
            "request": {
                "principal": "arn:aws:iam::111122223333:user/a", "action": "s3:PutObject", "resource": "arn:aws:s3:::b/k",
                "context": {"s3:x-amz-server-side-encryption": "AES256"},
            },
        });
        let answer = answer(&document).unwrap();
        assert_eq!(answer["decision"], "explicit_deny");
        assert_eq!(answer["because"], "with an explicit deny in a resource-based policy");
        assert_eq!(answer["decided_by"]["statement"]["sid"], "Guard");
        let condition = &answer["decided_by"]["statement"]["conditions"][0];
        assert_eq!((&condition["saw"][0], &condition["holds"]), (&json!("AES256"), &json!(true)));
        assert_eq!(answer["considered"].as_array().map(Vec::len), Some(2));
        assert!(super::answer(&json!({"request": {}})).is_err());
    }
}
