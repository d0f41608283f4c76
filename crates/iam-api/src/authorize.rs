//! Whether a caller may make a call of IAM or STS.

use crate::{fault::Fault, table::Input};
use std::sync::Arc;
use tresor_identity::{AccountState, Kind, Member, Writing, arn};
use tresor_model::{AccountId, Principal};
use tresor_policy::{CallerNames, Context, Question, RequestFacts, decide_identity};

impl<'a> Input<'a> {
    /// Errors: MissingAuthenticationToken.
    pub(crate) fn account(&self) -> Result<&'a AccountId, Fault> {
        self.caller.account().ok_or_else(|| Fault::unauthenticated(tresor_front::AuthError::Anonymous, ""))
    }
    /// A change of the caller's account, with its record. What it touches has been told by then: permission is asked first.
    pub(crate) fn writing(&self) -> Result<Writing, Fault> {
        Ok(Writing { account: self.account()?.clone(), record: self.telling.record() })
    }
    pub(crate) fn state(&self) -> Result<Arc<AccountState>, Fault> {
        Ok(self.api.directory.state(self.account()?))
    }
    pub(crate) fn arn(&self, kind: &str, path: &str, name: &str) -> Result<String, Fault> {
        Ok(arn(self.account()?, kind, path, name))
    }
    pub(crate) fn caller_arn(&self) -> String {
        self.caller.principal.arn().unwrap_or_else(|| "anonymous".into())
    }
    /// The user that a call is about: the one it names, or its caller.
    pub(crate) fn own_name(&self, named: Option<String>) -> Result<String, Fault> {
        match (named, &self.caller.principal) {
            (Some(name), _) => Ok(name),
            (None, Principal::User { name, .. }) => Ok(name.clone()),
            (None, _) => Err(Fault::validation("Must specify userName when calling with non-User credentials")),
        }
    }

    /// The caller's policies, for what lies in his own account. Errors: AccessDenied in AWS's words.
    pub(crate) fn permit(&self, resource: &str, mut keys: Context) -> Result<(), Fault> {
        self.telling.touch(resource);
        let bindings = self.api.directory.bindings(self.caller);
        self.fill(&mut keys, &bindings);
        let names = CallerNames::of(self.caller);
        let question = Question { who: names.requester(self.caller), action: self.action, resource, context: &keys };
        let decision = decide_identity(&question, &bindings.sources());
        if decision.allowed() {
            return Ok(());
        }
        let (who, action, because) = (self.caller_arn(), self.action, decision.because(self.action));
        Err(Fault::denied(format!(
            "User: {who} is not authorized to perform: {action} on resource: {resource} {because}"
        )))
    }

    pub(crate) fn fill(&self, keys: &mut Context, bindings: &tresor_policy::Bindings) {
        let facts = RequestFacts {
            now: self.api.clock.now(),
            region: &self.api.region,
            via: None,
            user_agent: self.user_agent,
            referer: self.referer,
        };
        keys.set_global(self.caller, bindings, &facts);
    }

    /// A call about one user, group or role, which need not exist. Errors: AccessDenied.
    pub(crate) fn permit_member(&self, kind: Kind, name: &str, keys: Context) -> Result<(), Fault> {
        let state = self.state()?;
        self.permit_found(kind, name, state.member(kind, name).map(Arc::as_ref), keys)
    }

    fn permit_found(&self, kind: Kind, name: &str, found: Option<&Member>, mut keys: Context) -> Result<(), Fault> {
        let Some(member) = found else { return self.permit(&self.arn(kind.name(), "/", name)?, keys) };
        resource_tags(&mut keys, &member.record.tags);
        if let (Some(boundary), None) = (&member.record.boundary, keys.values("iam:PermissionsBoundary"))
            && SHOWS_BOUNDARY.contains(&self.action)
        {
            keys.set("iam:PermissionsBoundary", boundary.as_str());
        }
        self.permit(&member.record.arn(), keys)
    }
}

/// Calls about a user or role for which IAM fills `iam:PermissionsBoundary` with the one he has. A Deny for everybody without a certain
/// boundary means every other call, too. Source: service authorization reference, IAM.
const SHOWS_BOUNDARY: &[&str] = &[
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteRolePolicy",
    "iam:DeleteUserPermissionsBoundary",
    "iam:DeleteUserPolicy",
    "iam:DetachRolePolicy",
    "iam:DetachUserPolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:PutUserPermissionsBoundary",
    "iam:PutUserPolicy",
];

pub(crate) fn resource_tags(keys: &mut Context, tags: &[(String, String)]) {
    for (key, value) in tags {
        keys.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        keys.set(&format!("iam:ResourceTag/{key}"), value.as_str());
    }
}

pub(crate) fn request_tags(keys: &mut Context, tags: &[(String, String)]) {
    for (key, value) in tags {
        keys.set(&format!("aws:RequestTag/{key}"), value.as_str());
    }
    keys.set_all("aws:TagKeys", tags.iter().map(|(key, _)| key.clone()));
}
