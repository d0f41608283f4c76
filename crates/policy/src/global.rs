//! The condition keys that every service fills, in one place. Source: the IAM user guide, "AWS global condition context keys".

use crate::{bindings::Bindings, context::Context};
use tresor_model::{Caller, Principal, Timestamp};

/// What a request says about itself besides who sent it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFacts<'a> {
    pub now: Timestamp,
    pub region: &'a str,
    /// The service that calls on the caller's behalf: `s3`. The caller's address is then hidden from the other service, as on AWS.
    pub via: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub referer: Option<&'a str>,
}

impl Context {
    /// Fills the global keys of a request.
    pub fn set_global(&mut self, caller: &Caller, bindings: &Bindings, facts: &RequestFacts<'_>) -> &mut Self {
        if let Some(account) = caller.account() {
            self.set("aws:PrincipalAccount", account.as_str());
        }
        // A session is known by its role's ARN.
        if let Some(arn) = caller.principal.role_arn().or_else(|| caller.principal.arn()) {
            self.set("aws:PrincipalArn", arn);
        }
        self.set("aws:PrincipalType", caller.principal.kind()).set("aws:userid", caller.user_id.as_str());
        if let Principal::User { name, .. } = &caller.principal {
            self.set("aws:username", name.as_str());
        }
        for (name, value) in bindings.principal_tags.iter() {
            self.set(&format!("aws:PrincipalTag/{name}"), value.as_str());
        }
        if let Some(session) = &caller.session {
            for (name, value) in &session.tags {
                self.set(&format!("aws:PrincipalTag/{name}"), value.as_str());
            }
            for (name, value) in &session.federated {
                self.set(name, value.as_str());
            }
            if let Some(identity) = &session.source_identity {
                self.set("aws:SourceIdentity", identity.as_str());
            }
            self.set("aws:TokenIssueTime", session.issued.iso8601()).set("aws:MultiFactorAuthPresent", "false");
        }
        self.set("aws:PrincipalIsAWSService", "false");
        self.set("aws:SecureTransport", if caller.secure_transport { "true" } else { "false" });
        self.set("aws:CurrentTime", facts.now.iso8601()).set("aws:EpochTime", facts.now.seconds().to_string());
        self.set("aws:RequestedRegion", facts.region);
        match facts.via {
            Some(service) => {
                let service = format!("{service}.amazonaws.com");
                self.set("aws:ViaAWSService", "true").set("aws:CalledViaFirst", service.as_str());
                self.set("aws:CalledViaLast", service.as_str()).set_all("aws:CalledVia", [service]);
            }
            None => {
                self.set("aws:ViaAWSService", "false");
                if let Some(address) = caller.source_ip {
                    self.set("aws:SourceIp", address.to_string());
                }
            }
        }
        if let Some(agent) = facts.user_agent {
            self.set("aws:UserAgent", agent);
        }
        if let Some(referer) = facts.referer {
            self.set("aws:Referer", referer);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tresor_model::Session;

    #[test]
    fn a_session_is_known_by_its_role_and_its_own_tags() {
        let account: tresor_model::AccountId = "111122223333".parse().unwrap();
        let principal = Principal::AssumedRole { account, path: "/a/".into(), role: "r".into(), session: "s".into() };
        let tags = |value: &str| vec![("team".to_owned(), value.to_owned())];
        let session = Session { tags: tags("blue"), ..Session::default() };
        let caller = Caller { session: Some(Arc::new(session)), ..Caller::local(principal) };
        let bindings = Bindings { principal_tags: tags("red").into(), ..Bindings::default() };
        let mut context = Context::default();
        context.set_global(&caller, &bindings, &RequestFacts::default());
        let only = |key: &str| context.only(&crate::context::folded(key)).map(str::to_owned);
        assert_eq!(only("aws:PrincipalArn").as_deref(), Some("arn:aws:iam::111122223333:role/a/r"));
        assert_eq!(only("aws:PrincipalTag/team").as_deref(), Some("blue"));
        assert_eq!(only("aws:MultiFactorAuthPresent").as_deref(), Some("false"));
        assert_eq!((only("aws:username"), only("aws:SourceIp")), (None, None));
    }
}
