//! The one door to a key: who may do what with it. Key policy, the caller's own policies and grants, joined as AWS joins them:
//! docs of KMS, "Determining access to AWS KMS keys"; a grant allows and never denies.

use crate::{
    error::KmsError,
    key::{GrantRecord, KeyRecord, KeyState},
    names::Found,
    ring::{Entry, KeyRing},
    traits::Recording,
};
use tresor_model::{Caller, ChangeRecord, KeyArn};
use tresor_policy::{
    Bindings, CallerNames, Context, Decision, GrantTerms, Policy, PolicyKind, Question, Reach, Reason, RequestFacts,
    Requester, Sources, decide_identity, decide_key,
};

/// One call of a KMS operation.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub caller: &'a Caller,
    /// The action without `kms:`.
    pub operation: &'static str,
    /// The encryption context of a symmetric operation.
    pub context: Option<&'a [(String, String)]>,
    /// The service that calls on the caller's behalf: `s3`.
    pub via: Option<&'static str>,
    /// The alias by which the key was named.
    pub alias: Option<String>,
    pub request_id: &'a str,
    /// Condition keys that only this operation has.
    pub keys: Context,
    /// Makes the record that the call's change carries into its commit.
    pub recording: Option<&'a dyn Recording>,
}

impl<'a> Call<'a> {
    pub fn new(caller: &'a Caller, operation: &'static str, request_id: &'a str) -> Self {
        let (context, via, alias, keys, recording) = (None, None, None, Context::default(), None);
        Self { caller, operation, context, via, alias, request_id, keys, recording }
    }
    /// S3 on behalf of a caller.
    pub(crate) fn of_s3(caller: &'a Caller, operation: &'static str, context: &'a [(String, String)]) -> Self {
        Self { context: Some(context), via: Some("s3"), ..Self::new(caller, operation, "") }
    }
    #[must_use]
    pub fn with_context(mut self, context: &'a [(String, String)]) -> Self {
        self.context = Some(context);
        self
    }
    #[must_use]
    pub fn recorded_by(mut self, recording: &'a dyn Recording) -> Self {
        self.recording = Some(recording);
        self
    }
    /// The record of this call's change of a key.
    pub(crate) fn record(&self, key: &KeyArn) -> Option<ChangeRecord> {
        self.recording.and_then(|recording| recording.record(key))
    }
    /// The same call under another action: ReEncrypt asks twice.
    #[must_use]
    pub fn acting(&self, operation: &'static str) -> Self {
        Self { operation, ..self.clone() }
    }
    fn action(&self) -> String {
        format!("kms:{}", self.operation)
    }
}

/// Why a key of another account is not to be had; it does not tell whether the key is there.
const NOT_HERE: &str = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access";

fn refusal(call: &Call<'_>, resource: &str, why: &str) -> KmsError {
    let (who, action) = (call.caller.principal.arn(), call.action());
    let who = who.as_deref().unwrap_or("anonymous");
    let place = if call.via.is_some() { "this resource".to_owned() } else { format!("resource: {resource}") };
    KmsError::AccessDenied(format!("User: {who} is not authorized to perform: {action} on {place} {why}"))
}

/// In which states an operation works, by the key state table of the developer guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Uses the material: the key is enabled.
    Use,
    /// Not pending deletion, not pending import.
    Material,
    /// Not pending deletion.
    Living,
    Nothing,
}

impl KeyRecord {
    /// Errors: Disabled, InvalidState.
    pub(crate) fn demand(&self, needs: Needs, arn: &KeyArn, now: tresor_model::Timestamp) -> Result<(), KmsError> {
        match (self.state(now), needs) {
            (_, Needs::Nothing) | (KeyState::Enabled, _) => Ok(()),
            (KeyState::Disabled, Needs::Use) => Err(KmsError::Disabled(arn.to_string())),
            (KeyState::Disabled, _) | (KeyState::PendingImport, Needs::Living) => Ok(()),
            (KeyState::PendingDeletion, _) => Err(KmsError::InvalidState(format!("{arn} is pending deletion."))),
            (KeyState::PendingImport, _) => Err(KmsError::InvalidState(format!("{arn} is pending import."))),
        }
    }
}

impl KeyRing {
    /// Whether the caller may do this with the key. Errors: AccessDenied.
    pub(crate) fn permit(&self, call: &Call<'_>, entry: &Entry, arn: &KeyArn) -> Result<(), KmsError> {
        self.decide(call, Some((entry, arn)), arn.as_str(), self.granted(call, &entry.record))
    }

    /// Whether policies would allow the call if one grant alone, or none, covered it so.
    pub(crate) fn permits_with(&self, call: &Call<'_>, found: &Found, granted: Option<Reach>) -> bool {
        self.decide(call, Some((&found.entry, &found.arn)), found.arn.as_str(), granted).is_ok()
    }

    /// The refusal of what is not there in another account: word for word that of a key that is there and lets nobody in, so that
    /// nobody learns which keys others have.
    pub(crate) fn refuse_missing(&self, call: &Call<'_>, named: &str) -> KmsError {
        match self.decide(call, None, named, None) {
            Err(KmsError::AccessDenied(text)) if text.contains(" with an explicit deny in ") => {
                KmsError::AccessDenied(text)
            }
            _ => refusal(call, named, NOT_HERE),
        }
    }

    /// A call that names no key: identity policies alone. `resource` is `*` or an alias' ARN. Errors: AccessDenied.
    pub(crate) fn permit_account(&self, call: &Call<'_>, resource: &str) -> Result<(), KmsError> {
        self.decide(call, None, resource, None)
    }

    fn decide(
        &self,
        call: &Call<'_>,
        key: Option<(&Entry, &KeyArn)>,
        resource: &str,
        granted: Option<Reach>,
    ) -> Result<(), KmsError> {
        let action = call.action();
        let Some(account) = call.caller.account() else { return Err(refusal(call, resource, "")) };
        let foreign = key.map(|(entry, _)| &entry.record.account).filter(|owner| *owner != account);
        // Which key another account's alias names is not for everyone to know.
        let named = foreign.zip(call.alias.as_deref()).map(|(owner, alias)| self.alias_arn(owner, alias));
        let refused = |why: &str| Err(refusal(call, named.as_deref().unwrap_or(resource), why));
        let bindings = self.identities.bindings(call.caller);
        let asked = bindings.policies().chain(key.map(|(entry, _)| &*entry.policy)).any(Policy::asks_context);
        let context = if asked {
            self.context(call, &bindings, key.map(|(entry, arn)| (&*entry.record, arn)))
        } else {
            Context::default()
        };
        let names = CallerNames::of(call.caller);
        let who = names.requester(call.caller);
        let question = Question { who, action: &action, resource, context: &context };
        let Some((entry, arn)) = key else {
            let decision = decide_identity(&question, &bindings.sources());
            return if decision.allowed() { Ok(()) } else { refused(&decision.because(&action)) };
        };
        let sources =
            Sources { resource: Some(&entry.policy), resource_account: arn.account(), granted, ..bindings.sources() };
        let decision = decide_key(&question, &sources);
        match decision.reason {
            _ if decision.allowed() => Ok(()),
            // The caller's own side says no, which he may know.
            Reason::Denied(kind) if kind != PolicyKind::Resource => refused(&decision.because(&action)),
            Reason::NotAllowed(kind) if kind != PolicyKind::Resource => refused(&decision.because(&action)),
            _ if foreign.is_some() => refused(NOT_HERE),
            _ => refused(&decision.because(&action)),
        }
    }

    /// Decides as `permit` would and tells about it, for `tresor policy explain`; permits nothing.
    pub fn explain<T>(
        &self,
        call: &Call<'_>,
        found: &Found,
        tell: impl FnOnce(&Question<'_>, &Policy, &Decision<'_>) -> T,
    ) -> T {
        let (action, arn, entry) = (call.action(), &found.arn, &found.entry);
        let bindings = self.identities.bindings(call.caller);
        let context = self.context(call, &bindings, Some((&*entry.record, arn)));
        let names = CallerNames::of(call.caller);
        let question =
            Question { who: names.requester(call.caller), action: &action, resource: arn.as_str(), context: &context };
        let sources = Sources {
            resource: Some(&entry.policy),
            resource_account: arn.account(),
            granted: self.granted(call, &entry.record),
            ..bindings.sources()
        };
        tell(&question, &entry.policy, &decide_key(&question, &sources))
    }

    /// The strongest way in which a grant covers the call.
    fn granted(&self, call: &Call<'_>, record: &KeyRecord) -> Option<Reach> {
        let names = CallerNames::of(call.caller);
        let who = names.requester(call.caller);
        self.grants_of(record).iter().filter_map(|grant| covers(grant, call, record, &who)).max()
    }

    /// Condition keys of a call. Source: the developer guide, "AWS KMS condition keys".
    fn context(&self, call: &Call<'_>, bindings: &Bindings, key: Option<(&KeyRecord, &KeyArn)>) -> Context {
        let mut context = call.keys.clone();
        let caller = call.caller;
        let facts =
            RequestFacts { now: self.clock.now(), region: &self.region, via: call.via, ..RequestFacts::default() };
        context.set_global(caller, bindings, &facts);
        if let Some(account) = caller.account() {
            context.set("kms:CallerAccount", account.as_str());
        }
        if let Some(service) = call.via {
            context.set("kms:ViaService", format!("{service}.{}.amazonaws.com", self.region));
        }
        if let Some(pairs) = call.context {
            for (name, value) in pairs {
                context.set(&format!("kms:EncryptionContext:{name}"), value.clone());
            }
            context.set_all("kms:EncryptionContextKeys", pairs.iter().map(|(name, _)| name.clone()));
        }
        if let Some(alias) = &call.alias {
            context.set("kms:RequestAlias", alias.clone());
        }
        if let Some((key, _)) = key {
            context.set("kms:KeySpec", key.spec.name()).set("kms:KeyUsage", key.usage.name());
            context.set("kms:KeyOrigin", key.origin.name()).set("kms:MultiRegion", "false");
            context.set("aws:ResourceAccount", key.account.as_str());
            for (name, value) in &key.tags {
                context.set(&format!("aws:ResourceTag/{name}"), value.clone());
            }
            context.set_all("kms:ResourceAliases", self.aliases_of(key));
        }
        context
    }
}

/// Whether a grant covers the call, and how: as a principal of the key's policy would, with which an account delegates to its own
/// policies.
pub(crate) fn covers(grant: &GrantRecord, call: &Call<'_>, key: &KeyRecord, who: &Requester<'_>) -> Option<Reach> {
    let terms = GrantTerms {
        grantee: &grant.grantee,
        operations: &grant.operations,
        context_equals: grant.context_equals.as_deref(),
        context_subset: grant.context_subset.as_deref(),
    };
    let constrained =
        key.spec.is_symmetric() && !matches!(call.operation, "CreateGrant" | "RetireGrant" | "DescribeKey");
    terms.cover(who, call.operation, constrained.then(|| call.context.unwrap_or_default()))
}
