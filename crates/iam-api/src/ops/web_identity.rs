//! Temporary credentials for whom an identity provider vouches. The request is not signed: its token is its proof.

use super::sts::{Wanted, assumed, credentials, role, role_seconds, subject};
use crate::{authorize::resource_tags, fault::Fault, fields::Fields, table::Input, xml::Xml};
use tresor_identity::{IdentityError, NewSession};
use tresor_policy::{Bindings, Context, Kind, Question, Requester, Sources, decide_trust};

fn invalid(text: impl Into<String>) -> Fault {
    IdentityError::InvalidIdentityToken(text.into()).into()
}

pub(crate) async fn assume_role(input: Input<'_>, mut fields: Fields) -> Result<Xml, Fault> {
    let wanted = Wanted::read(&mut fields)?;
    let token = zeroize::Zeroizing::new(fields.required("WebIdentityToken", 4..=20_000)?);
    fields.finish()?;
    input.telling.touch(&wanted.role_arn);
    let refused = || Fault::denied("Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let proved = input.api.issuers.verify(&token, input.api.clock.now())?;
    let claims = proved.claims();
    let (account, state, role) = role(&input, &wanted.role_arn).ok_or_else(refused)?;
    let provider = state.providers().find(|provider| provider.url == claims.issuer).ok_or_else(|| {
        invalid(format!("No OpenIDConnect provider found in your account for https://{}", claims.issuer))
    })?;
    // Who the token was made for: `azp` where there is one. Source: IAM user guide, "Available keys for AWS OIDC federation".
    let audiences: Vec<String> = claims.authorized_party.clone().map_or(claims.audiences.clone(), |party| vec![party]);
    let audience = audiences.iter().find(|audience| provider.client_ids.contains(audience));
    let audience = audience.ok_or_else(|| invalid("Incorrect token audience"))?;

    let mut keys = Context::default();
    let of_provider = |name: &str| format!("{}:{name}", claims.issuer);
    let mut federated = vec![
        ("aws:FederatedProvider".to_owned(), provider.arn()),
        (of_provider("sub"), claims.subject.clone()),
        (of_provider("aud"), audience.clone()),
    ];
    if claims.authorized_party.is_some() {
        match claims.audiences.as_slice() {
            [one] => keys.set(&of_provider("oaud"), one.as_str()),
            several => keys.set_all(&of_provider("oaud"), several.iter().cloned()),
        };
    }
    if let Some(email) = &claims.email {
        federated.push((of_provider("email"), email.clone()));
    }
    for (name, value) in &federated {
        keys.set(name, value.as_str());
    }
    keys.set("sts:RoleSessionName", wanted.session_name.as_str());
    resource_tags(&mut keys, &role.record.tags);
    input.fill(&mut keys, &Bindings::default());
    let provider_arn = provider.arn();
    let who = Requester { kind: Kind::Federated, arn: Some(&provider_arn), ..Requester::ANONYMOUS };
    let question = Question { who, action: input.action, resource: &wanted.role_arn, context: &keys };
    let sources = Sources { resource: role.trust.as_deref(), resource_account: account.as_str(), ..Sources::default() };
    if !decide_trust(&question, &sources).allowed() {
        return Err(refused());
    }
    super::sts::check_session_policies(&state, &wanted.policy_arns)?;
    let subject = subject(&role, wanted.session_name);
    let issued = input.api.directory.issue(NewSession {
        subject: subject.clone(),
        seconds: role_seconds(&input, &role, wanted.seconds)?,
        tags: Vec::new(),
        transitive_tags: Vec::new(),
        source_identity: None,
        policy: wanted.policy,
        policy_arns: wanted.policy_arns,
        federated,
        issuer_key: None,
    })?;
    let mut xml = Xml::default();
    credentials(&input, &mut xml, &issued);
    assumed(&input, &mut xml, &subject);
    xml.text("SubjectFromWebIdentityToken", &claims.subject).text("Audience", audience);
    xml.text("Provider", &provider_arn);
    Ok(xml)
}
