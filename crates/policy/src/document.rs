//! Policy documents: read once, judged often.

use crate::{
    condition::{Condition, Seen},
    context::Context,
    pattern::{Allows, ArnPattern, Pattern},
    principal::{Principals, Reach, Requester},
    public,
    syntax::{self, Document, Fault, Parts},
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
    pub(crate) principals: Option<Principals>,
    actions: (Vec<Pattern>, bool),
    resources: Option<(Vec<ArnPattern>, bool)>,
    pub(crate) conditions: Vec<Condition>,
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
    public: bool,
    asks_object_tags: bool,
}

/// What a kind of document must have and must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Of a bucket or key: principals and resources.
    Resource,
    /// Of a user, group, role, session: resources, no principals.
    Identity,
    /// Who may assume a role: principals, no resources.
    Trust,
}

impl Policy {
    /// Reads a policy that names principals, of a key or a bucket, as it was stored. Errors: MalformedPolicy.
    pub fn of_resource(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Resource).map_err(Fault::of_s3)
    }
    /// Reads a policy of a user, group, role or session, as it was stored. Errors: MalformedPolicy.
    pub fn of_identity(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Identity).map_err(Fault::of_iam)
    }
    /// Reads a role's trust policy, as it was stored. Errors: MalformedPolicy.
    pub fn of_trust(text: &str) -> Result<Self, MalformedPolicy> {
        Self::read(text, Form::Trust).map_err(Fault::of_iam)
    }

    fn read(text: &str, form: Form) -> Result<Self, Fault> {
        let json = syntax::json(text)?;
        Self::compile(text, &Document::read(&json)?, form)
    }

    pub(crate) fn compile(text: &str, document: &Document<'_>, form: Form) -> Result<Self, Fault> {
        let variables = document.variables();
        let parts = document.statements.iter().enumerate();
        let statements = parts.map(|(index, parts)| Statement::compile(parts, index, variables, form));
        let statements = statements.collect::<Result<Vec<_>, _>>()?;
        let conditions = statements.iter().any(|statement| !statement.conditions.is_empty());
        let asks_context = conditions || (variables && text.contains("${"));
        let asks_object_tags = asks_context && text.to_ascii_lowercase().contains("s3:existingobjecttag/");
        let public = statements.iter().any(|statement| statement.allow && public::is_public(statement));
        Ok(Self { text: text.to_owned(), statements, asks_context, asks_object_tags, public })
    }

    /// Whether any answer of this document depends on condition keys: where it does not, nobody needs to gather them.
    pub fn asks_context(&self) -> bool {
        self.asks_context
    }

    /// Whether it may depend on the tags of the object that is asked for: where it does not, nobody needs to read them.
    pub fn asks_object_tags(&self) -> bool {
        self.asks_object_tags
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it lets in people nobody has named. Source: S3 user guide, "The meaning of public".
    pub fn is_public(&self) -> bool {
        self.public
    }

    /// ARNs of users and roles, and accounts, that the document names as principals.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let names = self.statements.iter().filter_map(|statement| statement.principals.as_ref());
        names.flat_map(Principals::aws_names)
    }

    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Pure: the same question always gets the same answer.
    pub fn judge(&self, question: &Question<'_>) -> Judged<'_> {
        self.judge_bounded(question, false)
    }

    /// The same for a caller who has a permissions boundary, if `bounded`.
    pub(crate) fn judge_bounded(&self, question: &Question<'_>, bounded: bool) -> Judged<'_> {
        let mut judged = Judged::default();
        for statement in &self.statements {
            let Some(reach) = statement.reach(question, bounded) else { continue };
            // What could not change the answer is not looked at.
            let tells = match statement.allow {
                true => judged.allow.is_none_or(|(_, known)| known < reach),
                false => judged.deny.is_none(),
            };
            if !tells || !statement.applies(question) {
                continue;
            }
            if statement.allow {
                judged.allow = Some((statement, reach));
            } else {
                judged.deny = Some(statement);
            }
        }
        judged
    }
}

impl Statement {
    fn compile(parts: &Parts<'_>, index: usize, variables: bool, form: Form) -> Result<Self, Fault> {
        let because = |text: &str| Fault::Said(MalformedPolicy::because(text));
        let principals = match (parts.principal, form) {
            (Some(_), Form::Identity) => return Err(because("Policy document should not specify a principal.")),
            (None, Form::Identity) => None,
            (Some((value, negated)), Form::Resource | Form::Trust) => Some(Principals::read(value, negated)?),
            (None, Form::Resource | Form::Trust) => return Err(because("Missing required field Principal")),
        };
        if parts.allow && principals.as_ref().is_some_and(|principals| principals.negated) {
            return Err(because("Allow with NotPrincipal is not allowed."));
        }
        let Some((_, not_action)) = parts.action else {
            return Err(because("Policy statement must contain actions."));
        };
        let actions = Parts::texts(parts.action).map(action).collect::<Result<Vec<_>, _>>()?;
        let resources = match (parts.resource, form) {
            (Some(_), Form::Trust) => return Err(because("Has prohibited field Resource.")),
            (None, Form::Trust) => None,
            (None, Form::Resource | Form::Identity) => return Err(because("Policy statement must contain resources.")),
            (Some((_, negated)), Form::Resource | Form::Identity) => {
                let texts = Parts::texts(parts.resource);
                Some((texts.map(|text| ArnPattern::compile(text, variables)).collect(), negated))
            }
        };
        let conditions = match parts.condition {
            Some(block) => Condition::read(block, variables)?,
            None => Vec::new(),
        };
        let sid = parts.sid.map(ToOwned::to_owned);
        let actions = (actions, not_action);
        Ok(Self { sid, index, allow: parts.allow, principals, actions, resources, conditions })
    }

    /// Whether it allows; otherwise it denies.
    pub fn allows(&self) -> bool {
        self.allow
    }

    /// Its conditions with the values that a request brought.
    pub fn seen<'s>(&'s self, context: &'s Context) -> impl Iterator<Item = Seen<'s>> {
        self.conditions.iter().map(|condition| condition.seen(context, self.allow))
    }

    /// Whether its principals, actions and resources speak of the question, whatever its conditions say. `bounded`: the caller has a
    /// permissions boundary.
    pub fn concerns(&self, question: &Question<'_>, bounded: bool) -> bool {
        self.reach(question, bounded).is_some() && self.names(question)
    }

    /// Whether its actions speak of the question's, whatever the rest says.
    pub fn speaks_of_action(&self, question: &Question<'_>) -> bool {
        let (patterns, negated) = &self.actions;
        let is = |pattern: &Pattern| pattern.matches(question.action, question.context, true) == Some(true);
        patterns.iter().any(is) != *negated
    }

    /// Whether its principals are everybody.
    pub fn names_everybody(&self) -> bool {
        self.principals.as_ref().is_some_and(|principals| !principals.negated && principals.is_open())
    }

    /// Whether the statement speaks of this caller, and how.
    fn reach(&self, question: &Question<'_>, bounded: bool) -> Option<Reach> {
        match &self.principals {
            Some(principals) => principals.reach(&question.who, bounded),
            None => Some(Reach::Caller),
        }
    }

    fn names(&self, question: &Question<'_>) -> bool {
        if !self.speaks_of_action(question) {
            return false;
        }
        if let Some((patterns, negated)) = &self.resources {
            let named = |pattern: &ArnPattern| pattern.matches(question.resource, question.context) == Some(true);
            if patterns.iter().any(named) == *negated {
                return false;
            }
        }
        true
    }

    fn applies(&self, question: &Question<'_>) -> bool {
        self.names(question) && self.conditions.iter().all(|condition| condition.holds(question.context, self.allow))
    }
}

fn action(text: &str) -> Result<Pattern, MalformedPolicy> {
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
            (r#"{"ForAnyValue:StringLikeIfExists":{"kms:ViaService":"s3.*"}}"#, true, false),
            (r#"{"ForAllValues:StringEqualsIfExists":{"kms:ViaService":"x"}}"#, false, true),
        ] {
            assert_eq!((holds(condition, &present), holds(condition, &absent)), (with, without), "{condition}");
        }
    }

    #[test]
    fn a_key_of_many_values_allows_nothing_without_a_set_operator() {
        let mut context = Context::default();
        context.set_all("aws:TagKeys", ["a".to_owned(), "b".to_owned()]).set_all("aws:CalledVia", ["a".to_owned()]);
        for (condition, deny, allow) in [
            (r#"{"StringEquals":{"aws:TagKeys":"a"}}"#, true, false),
            (r#"{"StringNotEquals":{"aws:TagKeys":"c"}}"#, true, false),
            (r#"{"StringEquals":{"aws:CalledVia":"a"}}"#, true, false),
            (r#"{"StringEqualsIfExists":{"aws:none":"a"}}"#, true, true),
            (r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}"#, true, true),
            (r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}"#, true, true),
            (r#"{"StringEquals":{"aws:none":"${aws:CalledVia}"}}"#, false, false),
        ] {
            let judged = |effect: &str| {
                policy(&format!(
                    "{{\"Effect\":\"{effect}\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{condition}}}"
                ))
            };
            let question = ask("kms:Decrypt", &context);
            let denied = judged("Deny").judge(&question).deny.is_some();
            assert_eq!((denied, judged("Allow").judge(&question).allow.is_some()), (deny, allow), "{condition}");
        }
    }

    #[test]
    fn dates_may_end_at_the_month_the_day_or_the_minute() {
        let mut context = Context::default();
        context.set("aws:CurrentTime", "2024-06-01T00:00:00Z");
        for (text, same) in [
            ("2024-06", true),
            ("2024-06-01", true),
            ("2024-06-01T00:00Z", true),
            ("2024-06-01T02:00+02:00", true),
            ("2024-05-31T22:00:00.000-02:00", true),
            ("1717200000", true),
            ("2024", false),
            ("2024-06-01T00:01Z", false),
        ] {
            let deny = policy(&format!(
                r#"{{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{{"DateEquals":{{"aws:CurrentTime":"{text}"}}}}}}"#
            ));
            assert_eq!(deny.judge(&ask("kms:Decrypt", &context)).deny.is_some(), same, "{text}");
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
