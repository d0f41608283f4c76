//! Temporary credentials for callers who have credentials, and who they are.

use crate::{
    authorize::{request_tags, resource_tags},
    fault::Fault,
    fields::Fields,
    table::Input,
    xml::Xml,
};
use serde_json::json;
use std::sync::Arc;
use tresor_identity::{AccountState, Issued, Kind, Member, NewSession, Subject, check_tags, limits};
use tresor_model::{AccountId, Principal};
use tresor_policy::{CallerNames, Context, Question, Reason, Sources, decide_trust, size};

/// What a request says about the session it asks for.
pub(super) struct Wanted {
    pub role_arn: String,
    pub session_name: String,
    pub policy: Option<String>,
    pub policy_arns: Vec<String>,
    pub seconds: Option<u64>,
}

impl Wanted {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Fault> {
        let role_arn = fields.arn("RoleArn")?;
        let session_name = fields.required("RoleSessionName", 2..=64)?;
        check_word("roleSessionName", &session_name)?;
        let policy = session_policy(fields)?;
        let policy_arns = fields.policy_arns();
        let seconds =
            fields.number("DurationSeconds", limits::MIN_SESSION_SECONDS..=limits::MAX_ROLE_SESSION_SECONDS)?;
        Ok(Self { role_arn, session_name, policy, policy_arns, seconds })
    }
}

/// Letters, digits and `_+=,.@-`. Errors: ValidationError.
fn check_word(member: &str, text: &str) -> Result<(), Fault> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)) {
        return Ok(());
    }
    Err(Fault::validation(format!(
        "1 validation error detected: Value '{text}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"
    )))
}

fn session_policy(fields: &mut Fields) -> Result<Option<String>, Fault> {
    let Some(text) = fields.text("Policy", 1..=size::SESSION)? else { return Ok(None) };
    match tresor_policy::session_policy(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(Fault::new("MalformedPolicyDocument", error.to_string())),
    }
}

pub(super) fn check_session_policies(state: &AccountState, arns: &[String]) -> Result<(), Fault> {
    if arns.len() > limits::SESSION_POLICY_ARNS {
        return Err(Fault::validation(format!(
            "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to {}",
            limits::SESSION_POLICY_ARNS
        )));
    }
    match arns.iter().find(|arn| state.policy(arn).is_none()) {
        None => Ok(()),
        Some(arn) => {
            Err(Fault::new("MalformedPolicyDocument", format!("The policy {arn} does not exist or is not attachable.")))
        }
    }
}

/// A role by its ARN, in whatever account; its account, and what is known of it.
pub(super) fn role(input: &Input<'_>, arn: &str) -> Option<(AccountId, Arc<AccountState>, Arc<Member>)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, resource] = parts.as_slice() else { return None };
    let account: AccountId = account.parse().ok()?;
    let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
    let state = input.api.directory.state(&account);
    let member = state.member(Kind::Role, name).filter(|role| role.record.arn() == arn).cloned()?;
    Some((account, state, member))
}

/// Seconds of a role's session. Errors: ValidationError.
pub(super) fn role_seconds(input: &Input<'_>, role: &Member, asked: Option<u64>) -> Result<u64, Fault> {
    let seconds = asked.unwrap_or(limits::ROLE_SESSION_SECONDS);
    let chained = matches!(input.caller.principal, Principal::AssumedRole { .. });
    if chained && seconds > limits::MAX_CHAINED_SESSION_SECONDS {
        return Err(Fault::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    if seconds > role.record.role.as_ref().map_or(0, |role| role.max_session_seconds) {
        return Err(Fault::validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    Ok(seconds)
}

pub(super) fn subject(role: &Member, session: String) -> Subject {
    let record = &role.record;
    Subject::Role {
        account: record.account.clone(),
        path: record.path.clone(),
        name: record.name.clone(),
        id: record.id.clone(),
        session,
    }
}

/// The event is told which key was given, so that its uses can be found, and when it ends.
pub(super) fn credentials(input: &Input<'_>, xml: &mut Xml, issued: &Issued) {
    let shown = json!({ "accessKeyId": issued.access_key_id, "expiration": issued.expires.iso8601() });
    input.telling.answer("credentials", shown);
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &issued.access_key_id).text("SecretAccessKey", issued.secret.expose());
        xml.text("SessionToken", issued.token.expose()).time("Expiration", issued.expires);
    });
    xml.maybe("PackedPolicySize", issued.packed_size);
}

pub(super) fn assumed(input: &Input<'_>, xml: &mut Xml, subject: &Subject) {
    let shown = json!({ "assumedRoleId": subject.user_id(), "arn": subject.principal().arn() });
    input.telling.answer("assumedRoleUser", shown);
    xml.element("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", subject.user_id());
        xml.maybe("Arn", subject.principal().arn());
    });
}

pub(crate) async fn assume_role(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let wanted = Wanted::read(&mut fields)?;
    let own_tags = fields.tags()?;
    let mut transitive = fields.texts("TransitiveTagKeys");
    let external_id = fields.text("ExternalId", 2..=1224)?;
    let source_identity = fields.text("SourceIdentity", 2..=64)?;
    fields.finish()?;
    input.telling.touch(&wanted.role_arn);
    check_tags(&own_tags)?;
    if let Some(identity) = &source_identity {
        check_word("sourceIdentity", identity)?;
    }
    let refused = |because: &str| {
        let (who, arn) = (input.caller_arn(), &wanted.role_arn);
        let text = format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn} {because}");
        Fault::denied(text.trim_end())
    };
    if input.caller.is_root() {
        return Err(Fault::denied("Roles may not be assumed by root accounts."));
    }
    let session = input.caller.session.as_deref();
    // Whether there is such a role, only those are told whom it trusts.
    let known = role(&input, &wanted.role_arn);
    // Tags that go on come along, and cannot be replaced. Source: IAM user guide, "Pass session tags in AWS STS".
    let mut tags = own_tags.clone();
    for (key, value) in session.iter().flat_map(|session| &session.tags) {
        if !session.is_some_and(|session| session.transitive_tags.contains(key)) {
            continue;
        }
        if own_tags.iter().any(|(own, _)| own.eq_ignore_ascii_case(key)) {
            return Err(Fault::new(
                "InvalidParameterValue",
                "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.",
            ));
        }
        tags.push((key.clone(), value.clone()));
        transitive.push(key.clone());
    }
    if let Some(key) = transitive.iter().find(|key| !tags.iter().any(|(tag, _)| tag == *key)) {
        return Err(Fault::new(
            "InvalidParameterValue",
            format!("The specified transitive tag key {key} is not among the tags."),
        ));
    }
    let kept_identity = session.and_then(|session| session.source_identity.clone());
    if let (Some(kept), Some(asked)) = (&kept_identity, &source_identity)
        && kept != asked
    {
        return Err(refused("because the source identity of a session cannot be changed"));
    }

    let bindings = input.api.directory.bindings(input.caller);
    let mut keys = Context::default();
    request_tags(&mut keys, &own_tags);
    if let Some((_, _, role)) = &known {
        resource_tags(&mut keys, &role.record.tags);
    }
    keys.set("sts:RoleSessionName", wanted.session_name.as_str());
    keys.set_all("sts:TransitiveTagKeys", transitive.iter().cloned());
    if let Some(id) = external_id {
        keys.set("sts:ExternalId", id);
    }
    if let Some(identity) = &source_identity {
        keys.set("sts:SourceIdentity", identity.as_str());
    }
    input.fill(&mut keys, &bindings);
    let names = CallerNames::of(input.caller);
    let trust = known.as_ref().map(|(account, _, role)| (account.as_str(), role.trust.as_deref()));
    let (resource_account, resource) = trust.unwrap_or_default();
    let sources = Sources { resource, resource_account, ..bindings.sources() };
    let mut actions = vec!["sts:AssumeRole"];
    if !own_tags.is_empty() {
        actions.push("sts:TagSession");
    }
    if source_identity.is_some() {
        actions.push("sts:SetSourceIdentity");
    }
    for action in actions {
        let who = names.requester(input.caller);
        let decision = decide_trust(&Question { who, action, resource: &wanted.role_arn, context: &keys }, &sources);
        if decision.allowed() {
            continue;
        }
        if decision.reason == Reason::RootMayNotAssume {
            return Err(Fault::denied("Roles may not be assumed by root accounts."));
        }
        let who = input.caller_arn();
        // What is missing in a trust policy, AWS does not say.
        let because = match decision.reason {
            Reason::NotAllowed(tresor_policy::PolicyKind::Resource) => String::new(),
            _ => decision.because(action),
        };
        let text =
            format!("User: {who} is not authorized to perform: {action} on resource: {} {because}", wanted.role_arn);
        return Err(Fault::denied(text.trim_end()));
    }
    let (_, state, role) = known.ok_or_else(|| refused(""))?;
    check_session_policies(&state, &wanted.policy_arns)?;
    let subject = subject(&role, wanted.session_name);
    let source_identity = source_identity.or(kept_identity);
    let issued = input.api.directory.issue(NewSession {
        subject: subject.clone(),
        seconds: role_seconds(&input, &role, wanted.seconds)?,
        tags,
        transitive_tags: transitive,
        source_identity: source_identity.clone(),
        policy: wanted.policy,
        policy_arns: wanted.policy_arns,
        federated: Vec::new(),
        issuer_key: None,
    })?;
    let mut xml = Xml::default();
    credentials(&input, &mut xml, &issued);
    assumed(&input, &mut xml, &subject);
    xml.maybe("SourceIdentity", source_identity);
    Ok(xml)
}

/// Needs no permission, and none can be taken away. Source: the STS API reference, GetCallerIdentity.
pub(crate) async fn caller_identity(input: Input<'_>, fields: Fields) -> Result<Xml, Fault> {
    fields.finish()?;
    let account = input.account()?;
    let mut xml = Xml::default();
    xml.text("Arn", input.caller_arn()).text("UserId", &input.caller.user_id).text("Account", account);
    Ok(xml)
}

/// Seconds of a user's session: root's are short. Errors: ValidationError.
fn user_seconds(input: &Input<'_>, asked: Option<u64>) -> u64 {
    let seconds = asked.unwrap_or(limits::USER_SESSION_SECONDS);
    if input.caller.is_root() { seconds.min(limits::MAX_ROOT_SESSION_SECONDS) } else { seconds }
}

/// Needs no permission: it gives what the caller has. Source: the STS API reference, GetSessionToken.
pub(crate) async fn session_token(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let seconds = fields.number("DurationSeconds", limits::MIN_SESSION_SECONDS..=limits::MAX_USER_SESSION_SECONDS)?;
    fields.finish()?;
    let subject = match &input.caller.principal {
        _ if input.caller.session.is_some() => {
            return Err(Fault::denied("Cannot call GetSessionToken with session credentials"));
        }
        Principal::Root { account } => Subject::Root { account: account.clone() },
        Principal::User { account, path, name } => Subject::User {
            account: account.clone(),
            path: path.clone(),
            name: name.clone(),
            id: input.caller.user_id.clone(),
        },
        Principal::Anonymous | Principal::AssumedRole { .. } | Principal::Federated { .. } => {
            return Err(Fault::denied("Cannot call GetSessionToken with session credentials"));
        }
    };
    let issued = input.api.directory.issue(NewSession {
        subject,
        seconds: user_seconds(&input, seconds),
        tags: Vec::new(),
        transitive_tags: Vec::new(),
        source_identity: None,
        policy: None,
        policy_arns: Vec::new(),
        federated: Vec::new(),
        issuer_key: input.caller.access_key_id.clone(),
    })?;
    let mut xml = Xml::default();
    credentials(&input, &mut xml, &issued);
    Ok(xml)
}

pub(crate) async fn federation_token(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let name = fields.required("Name", 2..=32)?;
    check_word("name", &name)?;
    let policy = session_policy(&mut fields)?;
    let policy_arns = fields.policy_arns();
    let seconds = fields.number("DurationSeconds", limits::MIN_SESSION_SECONDS..=limits::MAX_USER_SESSION_SECONDS)?;
    let tags = fields.tags()?;
    fields.finish()?;
    check_tags(&tags)?;
    let account = input.account()?.clone();
    let Principal::User { name: user, .. } = &input.caller.principal else {
        return Err(Fault::denied("Only a user can call GetFederationToken."));
    };
    if input.caller.session.is_some() {
        return Err(Fault::denied("Cannot call GetFederationToken with session credentials"));
    }
    let mut keys = Context::default();
    request_tags(&mut keys, &tags);
    let arn = format!("arn:aws:sts::{account}:federated-user/{name}");
    input.permit(&arn, keys.clone())?;
    if !tags.is_empty() {
        Input { action: "sts:TagSession", ..input }.permit(&arn, keys)?;
    }
    check_session_policies(&*input.state()?, &policy_arns)?;
    let subject = Subject::Federated { account, name, user: user.clone(), id: input.caller.user_id.clone() };
    let issued = input.api.directory.issue(NewSession {
        subject: subject.clone(),
        seconds: user_seconds(&input, seconds),
        tags,
        transitive_tags: Vec::new(),
        source_identity: None,
        policy,
        policy_arns,
        federated: Vec::new(),
        issuer_key: input.caller.access_key_id.clone(),
    })?;
    let mut xml = Xml::default();
    credentials(&input, &mut xml, &issued);
    xml.element("FederatedUser", |xml| {
        xml.text("FederatedUserId", subject.user_id());
        xml.maybe("Arn", subject.principal().arn());
    });
    Ok(xml)
}

/// The account of a key that this server knows; keys of sessions are not remembered.
pub(crate) async fn access_key_info(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let id = fields.required("AccessKeyId", 16..=128)?;
    fields.finish()?;
    input.permit("*", Context::default())?;
    let owner = input.api.directory.owner_of_key(&id);
    let account = owner.as_ref().and_then(|(principal, _, _)| principal.account());
    let account = account.ok_or_else(|| Fault::validation("The access key is not one of this server."))?;
    let mut xml = Xml::default();
    xml.text("Account", account);
    Ok(xml)
}
