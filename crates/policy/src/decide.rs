//! How policies of several kinds make one decision. Source: IAM user guide, "Policy evaluation logic" and "Cross-account policy
//! evaluation logic"; KMS developer guide, "Determining access to AWS KMS keys"; S3 user guide, "Blocking public access".

use crate::{
    document::{Judged, Policy, Question, Statement},
    principal::{Kind, Reach},
};
use std::sync::Arc;

/// Everything that speaks about one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The caller's own policies and those of his groups.
    pub identity: &'a [Arc<Policy>],
    /// The permissions boundary, if there is one: it caps what identity policies allow.
    pub boundary: Option<&'a [Arc<Policy>]>,
    /// The policies handed over when the session was made, if any: they cap too.
    pub session: Option<&'a [Arc<Policy>]>,
    /// The policy of the bucket, key or role.
    pub resource: Option<&'a Policy>,
    /// Twelve digits.
    pub resource_account: &'a str,
    /// Only the denies of the resource's policy count: an object that belongs to another account than its bucket. Source: S3 user
    /// guide, "How Amazon S3 authorizes a request for an object operation".
    pub resource_denies_only: bool,
    /// A KMS grant or an ACL allows the call, to the caller, to his account or to anyone. It never denies.
    pub granted: Option<Reach>,
    /// RestrictPublicBuckets is on and the bucket's policy is public: only the owning account and services get through.
    pub public_access_cut: bool,
}

/// Which policy spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Identity,
    Boundary,
    Session,
    Resource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    ExplicitDeny,
    ImplicitDeny,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A policy of this kind allows.
    Allowed(PolicyKind),
    /// A KMS grant or an ACL allows.
    Granted,
    /// The account's root may.
    Root,
    /// A policy of this kind denies.
    Denied(PolicyKind),
    /// A policy of this kind had to allow, and none did.
    NotAllowed(PolicyKind),
    /// RestrictPublicBuckets.
    PublicAccessBlocked,
    /// KMS: no policy can allow this to another account.
    NotForOtherAccounts,
    /// STS: roles may not be assumed by root accounts.
    RootMayNotAssume,
}

/// What was decided, and by which statement.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'p> {
    pub effect: Effect,
    pub reason: Reason,
    pub statement: Option<(PolicyKind, &'p Statement)>,
}

impl<'p> Decision<'p> {
    pub fn allowed(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// The end of AWS's sentence "User: … is not authorized to perform: … on resource: …". Empty for an Allow.
    /// Source: IAM user guide, "Troubleshooting access denied error messages".
    pub fn because(&self, action: &str) -> String {
        match self.reason {
            Reason::Allowed(_) | Reason::Granted | Reason::Root => String::new(),
            Reason::Denied(kind) => format!("with an explicit deny in {}", kind.with_article()),
            Reason::NotAllowed(kind) => format!("because no {} allows the {action} action", kind.name()),
            Reason::PublicAccessBlocked => "because public access to the bucket is blocked".to_owned(),
            Reason::NotForOtherAccounts => {
                "because no resource-based policy allows the action for another account".to_owned()
            }
            Reason::RootMayNotAssume => "because roles may not be assumed by root accounts".to_owned(),
        }
    }

    fn allow(reason: Reason, statement: Option<(PolicyKind, &'p Statement)>) -> Self {
        Self { effect: Effect::Allow, reason, statement }
    }
    fn deny(kind: PolicyKind, statement: &'p Statement) -> Self {
        Self { effect: Effect::ExplicitDeny, reason: Reason::Denied(kind), statement: Some((kind, statement)) }
    }
    fn none(reason: Reason) -> Self {
        Self { effect: Effect::ImplicitDeny, reason, statement: None }
    }
}

impl PolicyKind {
    /// As AWS words it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
        }
    }
    fn with_article(self) -> &'static str {
        match self {
            Self::Identity => "an identity-based policy",
            Self::Boundary => "a permissions boundary",
            Self::Session => "a session policy",
            Self::Resource => "a resource-based policy",
        }
    }
}

/// What root of the owning account may do whatever the bucket's policy says, so that nobody is locked out for ever.
/// Source: the S3 API texts of these three operations.
const ROOT_RECOVERY: &[&str] = &["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];

/// A call that concerns no resource with a policy: IAM itself, ListBuckets, CreateKey.
pub fn decide_identity<'a>(question: &Question<'_>, sources: &Sources<'a>) -> Decision<'a> {
    let own = match Own::judge(question, sources) {
        Ok(own) => own,
        Err(denied) => return denied,
    };
    match own.side(question) {
        Ok(decision) => decision,
        Err(kind) => Decision::none(Reason::NotAllowed(kind)),
    }
}

/// A bucket or an object: in the same account either side suffices, across accounts both must allow.
pub fn decide_resource<'a>(question: &Question<'_>, sources: &Sources<'a>) -> Decision<'a> {
    let own = match Own::judge(question, sources) {
        Ok(own) => own,
        Err(denied) => return denied,
    };
    let same_account = question.who.account == Some(sources.resource_account);
    let recovers = same_account && question.who.kind == Kind::Root && ROOT_RECOVERY.contains(&question.action);
    let mut resource = judged(question, sources);
    if sources.resource_denies_only {
        resource.allow = None;
    }
    if let (Some(statement), false) = (resource.deny, recovers) {
        return Decision::deny(PolicyKind::Resource, statement);
    }
    if sources.public_access_cut && !same_account && question.who.kind != Kind::Service {
        return Decision::none(Reason::PublicAccessBlocked);
    }
    if same_account && let Ok(decision) = own.side(question) {
        return decision;
    }
    let missing = if same_account { PolicyKind::Identity } else { PolicyKind::Resource };
    own.with_resource(question, sources, &resource, same_account, missing)
}

/// What another account may be allowed to do with a key. Source: KMS developer guide, "Allowing users in other accounts to use a KMS
/// key".
const CROSS_ACCOUNT_KEY_ACTIONS: &[&str] = &[
    "kms:CreateGrant",
    "kms:Decapsulate",
    "kms:Decrypt",
    "kms:DeriveSharedSecret",
    "kms:DescribeKey",
    "kms:Encapsulate",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateMac",
    "kms:GetKeyRotationStatus",
    "kms:GetPublicKey",
    "kms:ListGrants",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:Sign",
    "kms:Verify",
    "kms:VerifyMac",
];

/// A KMS key: identity policies count only where the key's policy hands over to the account, and root has no other way in.
pub fn decide_key<'a>(question: &Question<'_>, sources: &Sources<'a>) -> Decision<'a> {
    let own = match Own::judge(question, sources) {
        Ok(own) => own,
        Err(denied) => return denied,
    };
    let resource = judged(question, sources);
    if let Some(statement) = resource.deny {
        return Decision::deny(PolicyKind::Resource, statement);
    }
    let same_account = question.who.account == Some(sources.resource_account);
    let of_key = question.action.starts_with("kms:");
    if of_key && !same_account && !CROSS_ACCOUNT_KEY_ACTIONS.contains(&question.action) {
        return Decision::none(Reason::NotForOtherAccounts);
    }
    own.with_resource(question, sources, &resource, same_account, PolicyKind::Resource)
}

/// A role's trust policy: like a key's, but root may not assume roles.
pub fn decide_trust<'a>(question: &Question<'_>, sources: &Sources<'a>) -> Decision<'a> {
    match question.who.kind {
        Kind::Root => Decision::none(Reason::RootMayNotAssume),
        Kind::Anonymous | Kind::User | Kind::Session { .. } | Kind::Federated | Kind::Service => {
            decide_key(question, sources)
        }
    }
}

/// What the resource's policy says.
fn judged<'a>(question: &Question<'_>, sources: &Sources<'a>) -> Judged<'a> {
    let bounded = sources.boundary.is_some();
    sources.resource.map(|policy| policy.judge_bounded(question, bounded)).unwrap_or_default()
}

/// What the caller's own policies say, when none of them denies.
struct Own<'p> {
    identity: Option<&'p Statement>,
    /// Whether the cap allows; `true` without one.
    boundary: bool,
    session: bool,
}

impl<'p> Own<'p> {
    /// Errors: the explicit deny of one of them.
    fn judge(question: &Question<'_>, sources: &Sources<'p>) -> Result<Self, Decision<'p>> {
        let all = |policies: &'p [Arc<Policy>], kind| {
            let mut allow = None;
            for policy in policies {
                let judged = policy.judge(question);
                if let Some(statement) = judged.deny {
                    return Err(Decision::deny(kind, statement));
                }
                allow = allow.or(judged.allow.map(|(statement, _)| statement));
            }
            Ok(allow)
        };
        let cap = |policies: Option<&'p [Arc<Policy>]>, kind| match policies {
            Some(policies) => all(policies, kind).map(|allow| allow.is_some()),
            None => Ok(true),
        };
        Ok(Self {
            identity: all(sources.identity, PolicyKind::Identity)?,
            boundary: cap(sources.boundary, PolicyKind::Boundary)?,
            session: cap(sources.session, PolicyKind::Session)?,
        })
    }

    /// The identity side. Errors: the kind of policy that had to allow and did not.
    fn side(&self, question: &Question<'_>) -> Result<Decision<'p>, PolicyKind> {
        let decision = match (self.identity, question.who.kind) {
            (Some(statement), _) => {
                Decision::allow(Reason::Allowed(PolicyKind::Identity), Some((PolicyKind::Identity, statement)))
            }
            (None, Kind::Root) => Decision::allow(Reason::Root, None),
            (None, _) => return Err(PolicyKind::Identity),
        };
        self.caps()?;
        Ok(decision)
    }

    fn caps(&self) -> Result<(), PolicyKind> {
        match (self.boundary, self.session) {
            (true, true) => Ok(()),
            (false, _) => Err(PolicyKind::Boundary),
            (true, false) => Err(PolicyKind::Session),
        }
    }

    /// The resource side, joined with the caller's own. `missing`: what to name when no side says anything.
    fn with_resource(
        &self,
        question: &Question<'_>,
        sources: &Sources<'p>,
        resource: &Judged<'p>,
        same_account: bool,
        missing: PolicyKind,
    ) -> Decision<'p> {
        let by_policy = resource.allow.map(|(statement, reach)| {
            let statement = Some((PolicyKind::Resource, statement));
            (reach, Decision::allow(Reason::Allowed(PolicyKind::Resource), statement))
        });
        let by_grant = sources.granted.map(|reach| (reach, Decision::allow(Reason::Granted, None)));
        let mut refused = None;
        for (reach, decision) in [by_policy, by_grant].into_iter().flatten() {
            let needed = match (question.who.kind, reach) {
                // Nobody vouches for these but the resource.
                (Kind::Anonymous | Kind::Federated | Kind::Service, _) => Ok(()),
                _ if !same_account => self.side(question).map(drop),
                (_, Reach::Account) => self.side(question).map(drop),
                // Boundaries and session policies limit what a role is given, not what the session or everybody is.
                // Source: IAM user guide, "Permissions boundaries", "Evaluating effective permissions with boundaries".
                (_, Reach::Role) => self.caps(),
                (_, Reach::Anyone | Reach::Caller) => Ok(()),
            };
            match needed {
                Ok(()) => return decision,
                Err(kind) => refused = refused.or(Some(kind)),
            }
        }
        let kind = match (refused, self.side(question)) {
            (Some(kind), _) => kind,
            // The identity side spoke, and what it lacked says more than that nobody named the caller.
            (None, Err(kind)) if missing == PolicyKind::Identity => kind,
            (None, _) => missing,
        };
        Decision::none(Reason::NotAllowed(kind))
    }
}
