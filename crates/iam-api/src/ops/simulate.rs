//! What a policy would say: SimulatePrincipalPolicy and SimulateCustomPolicy, by the engine that judges real requests.

use crate::{fault::Fault, fields::Fields, page::Page, table::Input, xml::Xml};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};
use tresor_identity::{AccountState, IdentityRecord, Kind, Member};
use tresor_model::{AccountId, Caller, Principal};
use tresor_policy::{
    CallerNames, Context, Decision, Effect, MalformedPolicy, Policy, Question, Reason, Requester, Sources, Statement,
    decide_identity, decide_resource, identity_policy,
};

/// Decisions of one request: AWS has as many actions and resources, and no more time either.
const MAX_DECISIONS: usize = 10_000;

/// A document with the name by which answers speak of it.
struct Named {
    id: String,
    kind: &'static str,
    policy: Arc<Policy>,
}

/// What is simulated.
struct Simulation {
    identity: Vec<Named>,
    boundary: Option<Vec<Named>>,
    resource: Option<Named>,
    resource_account: String,
    caller: Option<Caller>,
    actions: Vec<String>,
    resources: Vec<String>,
    context: Context,
    page: Page,
}

fn invalid(why: MalformedPolicy) -> Fault {
    Fault::new("InvalidInput", why.to_string())
}

fn inputs(fields: &mut Fields, list: &str) -> Result<Vec<Named>, Fault> {
    let texts = fields.texts(list);
    let named = texts.iter().enumerate().map(|(n, text)| {
        let id = format!("{list}.{}", n + 1);
        Ok(Named { id, kind: "none", policy: Arc::new(identity_policy(text).map_err(invalid)?) })
    });
    named.collect()
}

/// The policies of a user, group or role, and of a user's groups.
fn policies_of(state: &AccountState, member: &Member) -> Vec<Named> {
    let mut all = Vec::new();
    let mut add = |record: &IdentityRecord| {
        for (name, text) in &record.inline {
            let id = format!("{}_{}_{name}", record.kind.name(), record.name);
            // What is kept was read before it was kept.
            let policy = Policy::of_identity(text).ok();
            all.extend(policy.map(|policy| Named { id, kind: record.kind.name(), policy: Arc::new(policy) }));
        }
        for policy in record.attached.iter().filter_map(|arn| state.policy(arn)) {
            let kind = if policy.aws { "aws-managed" } else { "user-managed" };
            all.push(Named { id: policy.record.name.clone(), kind, policy: Arc::clone(&policy.policy) });
        }
    };
    add(&member.record);
    for group in &member.record.groups {
        if let Some(group) = state.member(Kind::Group, group) {
            add(&group.record);
        }
    }
    all
}

/// A user, group or role by its ARN, in the caller's account. Errors: NoSuchEntity.
fn source(input: &Input<'_>, arn: &str) -> Result<Arc<Member>, Fault> {
    let state = input.state()?;
    let by = |kind: Kind| state.members(kind).find(|member| member.record.arn() == arn).cloned();
    let found = [Kind::User, Kind::Group, Kind::Role].into_iter().find_map(by);
    found.ok_or_else(|| {
        tresor_identity::IdentityError::NoSuchEntity(format!("The entity with ARN {arn} cannot be found.")).into()
    })
}

/// Who `CallerArn` names, as a principal of resource policies. Errors: InvalidInput.
fn principal(arn: &str) -> Result<Principal, Fault> {
    let invalid = || Fault::new("InvalidInput", format!("The specified value for callerArn is invalid: {arn}"));
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, resource] = parts.as_slice() else { return Err(invalid()) };
    let account: AccountId = account.parse().map_err(|_| invalid())?;
    let place = resource.strip_prefix("user").filter(|place| place.starts_with('/')).ok_or_else(invalid)?;
    let cut = place.rfind('/').map(|slash| slash + 1).ok_or_else(invalid)?;
    let (path, name) = place.split_at(cut);
    Ok(Principal::User { account, path: path.to_owned(), name: name.to_owned() })
}

impl Simulation {
    /// Everything but where the policies come from.
    fn read(input: &Input<'_>, fields: &mut Fields, member: Option<&Member>) -> Result<Self, Fault> {
        let mut identity = match member {
            Some(member) => policies_of(&*input.state()?, member),
            None => Vec::new(),
        };
        identity.extend(inputs(fields, "PolicyInputList")?);
        let given = inputs(fields, "PermissionsBoundaryPolicyInputList")?;
        let own = member.and_then(|member| member.record.boundary.as_ref());
        let own = match own {
            Some(arn) => input.state()?.policy(arn).map(|policy| {
                vec![Named { id: policy.record.name.clone(), kind: "user-managed", policy: Arc::clone(&policy.policy) }]
            }),
            None => None,
        };
        let boundary = if given.is_empty() { own } else { Some(given) };
        let resource = match fields.text("ResourcePolicy", 1..=131_072)? {
            None => None,
            Some(text) => {
                let policy = Arc::new(Policy::of_resource(&text).map_err(invalid)?);
                Some(Named { id: "ResourcePolicy".into(), kind: "resource", policy })
            }
        };
        let actions = fields.texts("ActionNames");
        if actions.is_empty() {
            return Err(Fault::validation(
                "1 validation error detected: Value null at 'actionNames' failed to satisfy constraint: Member must not be null",
            ));
        }
        if let Some(action) = actions.iter().find(|action| action.split(':').count() != 2 || action.contains('*')) {
            return Err(Fault::new("InvalidInput", format!("Invalid Action: {action}")));
        }
        let mut resources = fields.texts("ResourceArns");
        if resources.is_empty() {
            resources.push("*".into());
        }
        if actions.len() * resources.len() > MAX_DECISIONS {
            return Err(Fault::new("InvalidInput", "Too many actions and resources."));
        }
        let owner = fields.text("ResourceOwner", 1..=2048)?;
        let caller_arn = fields.text("CallerArn", 1..=2048)?;
        let entries = fields.context_entries();
        let page = Page::read(fields)?;
        let account = input.account()?;
        let named = match (&caller_arn, member) {
            (Some(arn), _) => Some(principal(arn)?),
            (None, Some(member)) => principal(&member.record.arn()).ok(),
            (None, None) => None,
        };
        if resource.is_some() && named.is_none() {
            return Err(Fault::new(
                "InvalidInput",
                "CallerArn is required when ResourcePolicy is specified and the source of the policies is no user.",
            ));
        }
        let user_id = member.map(|member| member.record.id.clone());
        let caller = named.map(|principal| {
            let local = Caller::local(principal);
            Caller { user_id: user_id.unwrap_or_else(|| local.user_id.clone()), ..local }
        });
        let mut context = Context::default();
        if let Some(caller) = &caller {
            known_keys(&mut context, caller, member);
        }
        let now = input.api.clock.now();
        context.set("aws:CurrentTime", now.iso8601()).set("aws:EpochTime", now.seconds().to_string());
        for entry in entries {
            match <[String; 1]>::try_from(entry.values) {
                Ok([value]) if !entry.multivalued => context.set(&entry.name, value),
                Ok(one) => context.set_all(&entry.name, one),
                Err(several) => context.set_all(&entry.name, several),
            };
        }
        let owner = owner.as_deref().and_then(|arn| arn.split(':').nth(4).or(Some(arn))).map(str::to_owned);
        let resource_account = owner.unwrap_or_else(|| account.to_string());
        Ok(Self { identity, boundary, resource, resource_account, caller, actions, resources, context, page })
    }

    fn answer(&self) -> Xml {
        let identity: Vec<Arc<Policy>> = self.identity.iter().map(|named| Arc::clone(&named.policy)).collect();
        let boundary: Option<Vec<Arc<Policy>>> =
            self.boundary.as_ref().map(|all| all.iter().map(|named| Arc::clone(&named.policy)).collect());
        let sources = Sources {
            identity: &identity,
            boundary: boundary.as_deref(),
            resource: self.resource.as_ref().map(|named| &*named.policy),
            resource_account: &self.resource_account,
            ..Sources::default()
        };
        let names = self.caller.as_ref().map(CallerNames::of);
        let who = match (&names, &self.caller) {
            (Some(names), Some(caller)) => names.requester(caller),
            // Somebody of the account, for policies that name no principal.
            _ => Requester::of(tresor_policy::Kind::User, "", &self.resource_account),
        };
        let asked: BTreeSet<String> = self.policies().flat_map(|named| context_keys(named.policy.text())).collect();
        let missing: Vec<String> = asked.into_iter().filter(|key| self.context.values(key).is_none()).collect();
        let cases: Vec<(usize, &String, &String)> = self
            .actions
            .iter()
            .flat_map(|action| self.resources.iter().map(move |resource| (action, resource)))
            .enumerate()
            .map(|(n, (action, resource))| (n, action, resource))
            .collect();
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "EvaluationResults",
            &cases,
            |(n, _, _)| format!("{n:06}"),
            |xml, (_, action, resource)| {
                let question = Question { who, action, resource, context: &self.context };
                let decision = if self.resource.is_some() {
                    decide_resource(&question, &sources)
                } else {
                    decide_identity(&question, &sources)
                };
                self.show(xml, &question, &decision, &missing);
            },
        );
        xml
    }

    fn policies(&self) -> impl Iterator<Item = &Named> {
        self.identity.iter().chain(self.boundary.iter().flatten()).chain(&self.resource)
    }

    fn show(&self, xml: &mut Xml, question: &Question<'_>, decision: &Decision<'_>, missing: &[String]) {
        let word = match decision.effect {
            Effect::Allow => "allowed",
            Effect::ExplicitDeny => "explicitDeny",
            Effect::ImplicitDeny => "implicitDeny",
        };
        xml.text("EvalActionName", question.action).text("EvalResourceName", question.resource);
        xml.text("EvalDecision", word);
        let matched = self.policies().filter_map(|named| {
            let judged = named.policy.judge(question);
            let statement: Option<&Statement> = match decision.effect {
                Effect::Allow => judged.allow.map(|(statement, _)| statement),
                Effect::ExplicitDeny => judged.deny,
                Effect::ImplicitDeny => None,
            };
            Some((named, statement?))
        });
        xml.list("MatchedStatements", matched, |xml, (named, statement)| {
            xml.text("SourcePolicyId", &named.id).text("SourcePolicyType", named.kind);
            if let Some((start, end)) = place(named.policy.text(), statement.index) {
                for (name, (line, column)) in [("StartPosition", start), ("EndPosition", end)] {
                    xml.element(name, |xml| {
                        xml.text("Line", line).text("Column", column);
                    });
                }
            }
        });
        xml.texts("MissingContextValues", missing);
        if self.boundary.is_some() {
            let capped = matches!(
                decision.reason,
                Reason::NotAllowed(tresor_policy::PolicyKind::Boundary)
                    | Reason::Denied(tresor_policy::PolicyKind::Boundary)
            );
            xml.element("PermissionsBoundaryDecisionDetail", |xml| {
                xml.text("AllowedByPermissionsBoundary", !capped);
            });
        }
    }
}

/// What is certain about a caller without a request.
fn known_keys(context: &mut Context, caller: &Caller, member: Option<&Member>) {
    if let Some(account) = caller.account() {
        context.set("aws:PrincipalAccount", account.as_str());
    }
    if let Some(arn) = caller.principal.arn() {
        context.set("aws:PrincipalArn", arn);
    }
    context.set("aws:PrincipalType", caller.principal.kind());
    if let Principal::User { name, .. } = &caller.principal {
        context.set("aws:username", name.as_str());
    }
    if let Some(member) = member {
        context.set("aws:userid", member.record.id.as_str());
        for (key, value) in &member.record.tags {
            context.set(&format!("aws:PrincipalTag/{key}"), value.as_str());
        }
    }
}

pub(crate) async fn custom(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    input.permit("*", Context::default())?;
    let simulation = Simulation::read(&input, &mut fields, None)?;
    fields.finish()?;
    Ok(simulation.answer())
}

pub(crate) async fn principal_policy(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicySourceArn")?;
    input.permit(&arn, Context::default())?;
    let member = source(&input, &arn)?;
    let simulation = Simulation::read(&input, &mut fields, Some(&member))?;
    fields.finish()?;
    Ok(simulation.answer())
}

pub(crate) async fn custom_keys(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    input.permit("*", Context::default())?;
    let given = inputs(&mut fields, "PolicyInputList")?;
    fields.finish()?;
    Ok(listed_keys(&given))
}

pub(crate) async fn principal_keys(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let arn = fields.arn("PolicySourceArn")?;
    input.permit(&arn, Context::default())?;
    let given = inputs(&mut fields, "PolicyInputList")?;
    fields.finish()?;
    let member = source(&input, &arn)?;
    let mut all = policies_of(&*input.state()?, &member);
    all.extend(given);
    Ok(listed_keys(&all))
}

fn listed_keys(policies: &[Named]) -> Xml {
    let keys: BTreeSet<String> = policies.iter().flat_map(|named| context_keys(named.policy.text())).collect();
    let mut xml = Xml::default();
    xml.texts("ContextKeyNames", keys);
    xml
}

/// The condition keys that a document names, in conditions and as variables. It is one: its reader saw it.
fn context_keys(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let statements = match &document["Statement"] {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    for condition in statements.iter().filter_map(|statement| statement["Condition"].as_object()) {
        keys.extend(condition.values().filter_map(Value::as_object).flat_map(|tests| tests.keys().cloned()));
    }
    if document["Version"] == "2012-10-17" {
        let variables = text.split("${").skip(1).filter_map(|rest| rest.split(['}', ',']).next());
        keys.extend(variables.filter(|name| !matches!(*name, "*" | "?" | "$")).map(|name| name.trim().to_owned()));
    }
    keys
}

type Spot = (usize, usize);

/// Line and column, from 1, of the first character of a statement and of the one behind its last.
fn place(text: &str, index: usize) -> Option<(Spot, Spot)> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let (mut line, mut column) = (1, 1);
    let (mut start, mut seen) = (None, 0);
    let list = text.split("\"Statement\"").nth(1)?.trim_start().strip_prefix(':')?.trim_start().starts_with('[');
    // A list adds a level between the document and its statements.
    let level = if list { 2 } else { 1 };
    let begins = text.find("\"Statement\"")?;
    for (at, c) in text.char_indices() {
        let before = (line, column);
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
        if in_text {
            (in_text, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => in_text = true,
            '{' | '[' => {
                if c == '{' && depth == level && at > begins && start.is_none() {
                    if seen == index {
                        start = Some(before);
                    }
                    seen += 1;
                }
                depth += 1;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if c == '}'
                    && depth == level
                    && let Some(start) = start
                {
                    return Some((start, (line, column)));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"Version\":\"2012-10-17\",\n \"Statement\":[\n  {\"Sid\":\"a}\\\"{\",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"true\"}}},\n  {\"Resource\":\"x/${aws:username}/${aws:x, 'y'}${*}\"}]}";

    #[test]
    fn statements_are_found_where_they_stand() {
        assert_eq!(place(TEXT, 0), Some(((3, 3), (3, 70))));
        assert_eq!(place(TEXT, 1).map(|(start, _)| start), Some((4, 3)));
        assert_eq!(place("{\"Statement\":{\"a\":{}}}", 0), Some(((1, 14), (1, 22))));
        assert_eq!(place(TEXT, 2), None);
    }

    #[test]
    fn every_key_that_is_named_is_listed() {
        let keys: Vec<String> = context_keys(TEXT).into_iter().collect();
        assert_eq!(keys, ["aws:SecureTransport", "aws:username", "aws:x"]);
    }
}
