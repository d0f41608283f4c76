//! Policy documents: read once, judged often.

use crate::{
    condition::Condition,
    context::Context,
    json::Json,
    pattern::{Allows, ArnPattern, Pattern},
    principal::{Principals, Reach, Requester},
};
use std::fmt;

/// Why a document is not a policy; AWS's wording where it is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedPolicy(pub String);

impl MalformedPolicy {
    pub(crate) fn syntax() -> Self {
        Self("Syntax errors in policy.".into())
    }
    pub(crate) fn because(text: &str) -> Self {
        Self(text.into())
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub who: Requester<'a>,
    /// `kms:Decrypt`
    pub action: &'a str,
    /// The resource's ARN, or `*`.
    pub resource: &'a str,
    pub context: &'a Context,
}

/// What one document says: the first statement that denies, and the strongest that allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged<'p> {
    pub deny: Option<&'p Statement>,
    pub allow: Option<(&'p Statement, Reach)>,
}

/// One statement.
#[derive(Clone)]
pub struct Statement {
    pub sid: Option<String>,
    /// Its place in the document, from 0.
    pub index: usize,
    allow: bool,
    principals: Option<Principals>,
    actions: (Vec<Pattern>, bool),
    resources: Option<(Vec<ArnPattern>, bool)>,
    conditions: Vec<Condition>,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({}, {:?})", self.index, self.sid)
    }
}

/// A policy document with its original text.
#[derive(Clone, Debug)]
pub struct Policy {
    text: String,
    statements: Vec<Statement>,
    asks_context: bool,
}

/// What a document is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Identity,
    Resource,
    Trust,
}

/// Statements of a document.
const MAX_STATEMENTS: usize = 1000;

impl Policy {
    /// Reads a policy that names principals: of a key, a bucket. Errors: MalformedPolicy.
    pub fn of_resource(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Resource)
    }
    /// Reads a role's trust policy: principals, and no resource but the role. Errors: MalformedPolicy.
    pub fn of_trust(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Trust)
    }
    /// Reads a policy of a user, group or role: no principals. Errors: MalformedPolicy.
    pub fn of_identity(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Identity)
    }

    fn read(text: &str, form: Form) -> Result<Self, MalformedPolicy> {
        let json: Json =
            serde_json::from_str(text).map_err(|_| MalformedPolicy::because("This policy contains invalid Json"))?;
        let fields = json.object().ok_or_else(MalformedPolicy::syntax)?;
        let (mut variables, mut statements) = (false, None);
        for (name, value) in fields {
            match (name.as_str(), value.text()) {
                ("Version", Some("2012-10-17")) => variables = true,
                ("Version", Some("2008-10-17")) | ("Id", Some(_)) => {}
                ("Version", _) => {
                    return Err(MalformedPolicy::because("The policy must contain a valid version string"));
                }
                ("Statement", _) => statements = Some(value.items()),
                _ => return Err(MalformedPolicy::syntax()),
            }
        }
        let statements = statements.ok_or_else(|| MalformedPolicy::because("Missing required field Statement"))?;
        if statements.is_empty() {
            return Err(MalformedPolicy::because("Could not parse the policy: Statement is empty!"));
        }
        if statements.len() > MAX_STATEMENTS {
            return Err(MalformedPolicy::because("The policy has too many statements."));
        }
        let read = |(index, json)| Statement::read(json, index, variables, form);
        let statements = statements.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let conditions = statements.iter().any(|statement| !statement.conditions.is_empty());
        let asks_context = conditions || (variables && text.contains("${"));
        Ok(Self { text: text.to_owned(), statements, asks_context })
    }

    /// Whether any answer of this document depends on condition keys: where it does not, nobody needs to gather them.
    pub fn asks_context(&self) -> bool {
        self.asks_context
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// ARNs of users and roles, and accounts, that the document names as principals.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let names = self.statements.iter().filter_map(|statement| statement.principals.as_ref());
        names.flat_map(Principals::aws_names)
    }

    /// Pure: the same question always gets the same answer.
    pub fn judge(&self, question: &Question<'_>) -> Judged<'_> {
        let mut judged = Judged::default();
        for statement in &self.statements {
            let Some(reach) = statement.reach(question) else { continue };
            if !statement.applies(question) {
                continue;
            }
            if !statement.allow {
                judged.deny = judged.deny.or(Some(statement));
            } else if judged.allow.is_none_or(|(_, known)| known < reach) {
                judged.allow = Some((statement, reach));
            }
        }
        judged
    }
}

impl Statement {
    fn read(json: &Json, index: usize, variables: bool, form: Form) -> Result<Self, MalformedPolicy> {
        let resource_policy = form != Form::Identity;
        let mut sid = None;
        let (mut allow, mut principals, mut actions, mut resources) = (None, None, None, None);
        let mut conditions = Vec::new();
        let twice = MalformedPolicy::syntax;
        for (name, value) in json.object().ok_or_else(MalformedPolicy::syntax)? {
            match name.as_str() {
                "Sid" => sid = Some(value.text().ok_or_else(MalformedPolicy::syntax)?.to_owned()),
                "Effect" => {
                    allow = Some(match value.text() {
                        Some("Allow") => true,
                        Some("Deny") => false,
                        other => {
                            let effect = other.unwrap_or_default();
                            return Err(MalformedPolicy(format!("Invalid effect: {effect}")));
                        }
                    });
                }
                "Principal" | "NotPrincipal" if resource_policy => {
                    let names = Principals::read(value, name == "NotPrincipal")?;
                    if principals.replace(names).is_some() {
                        return Err(twice());
                    }
                }
                "Principal" | "NotPrincipal" => {
                    return Err(MalformedPolicy::because("Policy document should not specify a principal."));
                }
                "Action" | "NotAction" => {
                    if actions.replace((action_patterns(value)?, name == "NotAction")).is_some() {
                        return Err(twice());
                    }
                }
                "Resource" | "NotResource" => {
                    let patterns: Vec<ArnPattern> = value
                        .items()
                        .iter()
                        .map(|item| item.text().map(|text| ArnPattern::compile(text, variables)))
                        .collect::<Option<_>>()
                        .ok_or_else(MalformedPolicy::syntax)?;
                    if resources.replace((patterns, name == "NotResource")).is_some() {
                        return Err(twice());
                    }
                }
                "Condition" => conditions = Condition::read(value, variables)?,
                _ => return Err(MalformedPolicy::syntax()),
            }
        }
        let allow = allow.ok_or_else(|| MalformedPolicy::because("Missing required field Effect"))?;
        if resource_policy && principals.is_none() {
            return Err(MalformedPolicy::because("Missing required field Principal"));
        }
        if allow && principals.as_ref().is_some_and(|names| names.negated) {
            return Err(MalformedPolicy::because("Allow with NotPrincipal is not allowed."));
        }
        let actions = actions.ok_or_else(|| MalformedPolicy::because("Policy statement must contain actions."))?;
        match (form, &resources) {
            (Form::Trust, Some(_)) => return Err(MalformedPolicy::because("Has prohibited field Resource.")),
            (Form::Identity | Form::Resource, None) => {
                return Err(MalformedPolicy::because("Policy statement must contain resources."));
            }
            (Form::Trust, None) | (Form::Identity | Form::Resource, Some(_)) => {}
        }
        Ok(Self { sid, index, allow, principals, actions, resources, conditions })
    }

    /// Whether the statement speaks of this caller, and how.
    fn reach(&self, question: &Question<'_>) -> Option<Reach> {
        match &self.principals {
            Some(principals) => principals.reach(&question.who),
            None => Some(Reach::Caller),
        }
    }

    fn applies(&self, question: &Question<'_>) -> bool {
        let none = Context::default();
        let (patterns, negated) = &self.actions;
        let acted = patterns.iter().any(|pattern| pattern.matches(question.action, &none, true) == Some(true));
        if acted == *negated {
            return false;
        }
        if let Some((patterns, negated)) = &self.resources {
            let named = |pattern: &ArnPattern| pattern.matches(question.resource, question.context) == Some(true);
            if patterns.iter().any(named) == *negated {
                return false;
            }
        }
        self.conditions.iter().all(|condition| condition.holds(question.context))
    }
}

fn action_patterns(value: &Json) -> Result<Vec<Pattern>, MalformedPolicy> {
    let read = |item: &Json| {
        let text = item.text().ok_or_else(MalformedPolicy::syntax)?;
        match text.split(':').count() {
            _ if text == "*" => {}
            1 => {
                return Err(MalformedPolicy::because(
                    "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
                ));
            }
            2 => {}
            _ => return Err(MalformedPolicy::because("Actions/Condition can contain only one colon.")),
        }
        Ok(Pattern::compile(text, Allows { wildcards: true, variables: false }))
    };
    value.items().iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USER: &str = "arn:aws:iam::111122223333:user/alice";
    fn ask<'a>(action: &'a str, context: &'a Context) -> Question<'a> {
        let who = Requester::of(crate::principal::Kind::User, USER, "111122223333");
        Question { who, action, resource: "arn:aws:kms:us-east-1:111122223333:key/k", context }
    }
    fn policy(statement: &str) -> Policy {
        Policy::of_resource(&format!("{{\"Version\":\"2012-10-17\",\"Statement\":{statement}}}")).unwrap()
    }

    #[test]
    fn principals_reach_the_caller_in_three_ways() {
        let context = Context::default();
        for (name, reach) in [
            ("{\"AWS\":\"111122223333\"}", Some(Reach::Account)),
            ("{\"AWS\":\"arn:aws:iam::111122223333:root\"}", Some(Reach::Account)),
            ("\"*\"", Some(Reach::Anyone)),
            (&format!("{{\"AWS\":[\"{USER}\",\"*\"]}}"), Some(Reach::Caller)),
            ("{\"AWS\":\"444455556666\"}", None),
            ("{\"Service\":\"s3.amazonaws.com\"}", None),
        ] {
            let policy = policy(&format!(
                "{{\"Effect\":\"Allow\",\"Principal\":{name},\"Action\":\"KMS:decr*\",\"Resource\":\"*\"}}"
            ));
            assert_eq!(policy.judge(&ask("kms:Decrypt", &context)).allow.map(|(_, reach)| reach), reach, "{name}");
            assert!(policy.judge(&ask("kms:Encrypt", &context)).allow.is_none());
        }
    }

    #[test]
    fn negated_operators_hold_for_an_absent_key_and_null_does_not_spare_it() {
        let holds = |condition: &str, context: &Context| {
            let deny = format!(
                "{{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{condition}}}"
            );
            policy(&deny).judge(&ask("kms:Decrypt", context)).deny.is_some()
        };
        let (mut present, absent) = (Context::default(), Context::default());
        present.set("kms:ViaService", "s3.us-east-1.amazonaws.com").set("n:n", "5").set("aws:SourceIp", "10.1.2.3");
        for (condition, with, without) in [
            (r#"{"StringNotEquals":{"kms:viaservice":"x"}}"#, true, true),
            (r#"{"StringNotEqualsIfExists":{"kms:ViaService":["x","s3.us-east-1.amazonaws.com"]}}"#, false, true),
            (r#"{"StringLike":{"kms:ViaService":"s3.*.amazonaws.com"}}"#, true, false),
            (r#"{"StringEqualsIfExists":{"kms:ViaService":"x"}}"#, false, true),
            (r#"{"Null":{"kms:ViaService":true}}"#, false, true),
            (r#"{"Null":{"kms:ViaService":"false"},"StringNotEquals":{"kms:ViaService":"x"}}"#, true, false),
            (r#"{"NumericLessThan":{"n:n":"6"}}"#, true, false),
            (r#"{"NumericGreaterThanEquals":{"n:n":6}}"#, false, false),
            (r#"{"IpAddress":{"aws:SourceIp":["192.168.0.1","10.0.0.0/8"]}}"#, true, false),
            (r#"{"ForAllValues:StringEquals":{"kms:ViaService":"x"}}"#, false, true),
            (r#"{"ForAnyValue:StringNotEquals":{"kms:ViaService":"x"}}"#, true, false),
        ] {
            assert_eq!((holds(condition, &present), holds(condition, &absent)), (with, without), "{condition}");
        }
    }

    #[test]
    fn what_is_not_a_policy_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            "{\"Statement\":[]}",
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"*"}}"#,
            r#"{"Statement":{"Effect":"allow","Principal":"*","Action":"*","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/*"},"Action":"*","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"Decrypt","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"Equals":{"a":"b"}}}}"#,
        ] {
            assert!(Policy::of_resource(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\{\\}\\[\\]\":,a-zA-Z*$ ]{0,120}") {
            drop(Policy::of_resource(&text));
            drop(Policy::of_identity(&format!(
                "{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":{}}}}}",
                serde_json::to_string(&text).unwrap()
            )));
        }
    }
}
