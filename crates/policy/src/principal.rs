//! Who asks, and how the principals of a resource policy reach him. Source: IAM user guide, "AWS JSON policy elements: Principal" and
//! "NotPrincipal".

use crate::{document::MalformedPolicy, json::Json};
use tresor_model::{AccountId, Caller, PARTITION, Principal};

/// What kind of caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Nobody signed.
    Anonymous,
    /// The account itself.
    Root,
    User,
    /// Temporary credentials with an ARN of their own; the issuer is their role, or the user that made them for somebody else.
    Session {
        issuer_arn: &'a str,
    },
    /// Somebody an identity provider vouches for; `arn` is the provider's ARN or name.
    Federated,
    /// A service; `arn` is its name, `logging.s3.amazonaws.com`.
    Service,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    pub kind: Kind<'a>,
    /// `None` for an anonymous caller.
    pub arn: Option<&'a str>,
    pub account: Option<&'a str>,
    /// `AIDA…` of a user, `AROA…:SESSION` of a role session.
    pub unique_id: Option<&'a str>,
    /// The account as S3 names it: 64 hex digits.
    pub canonical_id: Option<&'a str>,
}

impl<'a> Requester<'a> {
    pub const ANONYMOUS: Self =
        Self { kind: Kind::Anonymous, arn: None, account: None, unique_id: None, canonical_id: None };

    /// A signed caller of an account, by its ARN.
    pub fn of(kind: Kind<'a>, arn: &'a str, account: &'a str) -> Self {
        Self { kind, arn: Some(arn), account: Some(account), ..Self::ANONYMOUS }
    }
}

/// A caller that is known by its ARN alone: what files of cases and the explainer name.
#[derive(Clone, Debug)]
pub struct NamedCaller {
    kind: NamedKind,
    arn: String,
    account: Option<String>,
    issuer_arn: String,
}

#[derive(Clone, Copy, Debug)]
enum NamedKind {
    Anonymous,
    Root,
    User,
    Session,
    Federated,
    Service,
}

impl NamedCaller {
    /// `anonymous`, twelve digits, the ARN of an account's root, user, role, assumed role or federated user, the name of a service or
    /// of an identity provider. A session's role is taken to have no path. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let named = |kind, account: Option<&str>, issuer_arn: String| {
            Some(Self { kind, arn: text.to_owned(), account: account.map(ToOwned::to_owned), issuer_arn })
        };
        let none = String::new;
        if matches!(text, "anonymous" | "*") {
            return named(NamedKind::Anonymous, None, none());
        }
        if let Some(Name::Account(account)) = aws(text) {
            return named(NamedKind::Root, Some(&account), none());
        }
        if is_service(text) && text.ends_with(".amazonaws.com") {
            return named(NamedKind::Service, None, none());
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", _, service, _, account, resource] = parts.as_slice() else {
            return if text.contains('.') { named(NamedKind::Federated, None, none()) } else { None };
        };
        let (kind, name) = resource.split_once('/')?;
        match (*service, kind) {
            ("iam", "user") => named(NamedKind::User, Some(account), none()),
            ("iam", "role") => named(NamedKind::Session, Some(account), text.to_owned()),
            ("iam", "oidc-provider" | "saml-provider") => named(NamedKind::Federated, None, none()),
            ("sts", "assumed-role") => {
                let (role, _) = name.split_once('/')?;
                named(NamedKind::Session, Some(account), format!("arn:{PARTITION}:iam::{account}:role/{role}"))
            }
            ("sts", "federated-user") => named(NamedKind::Session, Some(account), none()),
            _ => None,
        }
    }

    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub fn requester(&self) -> Requester<'_> {
        let kind = match self.kind {
            NamedKind::Anonymous => return Requester::ANONYMOUS,
            NamedKind::Root => Kind::Root,
            NamedKind::User => Kind::User,
            NamedKind::Session => Kind::Session { issuer_arn: &self.issuer_arn },
            NamedKind::Federated => Kind::Federated,
            NamedKind::Service => Kind::Service,
        };
        Requester { kind, arn: Some(&self.arn), account: self.account(), ..Requester::ANONYMOUS }
    }
}

/// The ARNs of a caller: what a `Requester` of it borrows.
#[derive(Clone, Debug)]
pub struct CallerNames {
    arn: Option<String>,
    issuer_arn: Option<String>,
}

impl CallerNames {
    pub fn of(caller: &Caller) -> Self {
        let issuer_arn = match &caller.principal {
            Principal::Federated { account, user, .. } => Some(format!("arn:{PARTITION}:iam::{account}:user/{user}")),
            Principal::Anonymous | Principal::Root { .. } | Principal::User { .. } | Principal::AssumedRole { .. } => {
                caller.principal.role_arn()
            }
        };
        Self { arn: caller.principal.arn(), issuer_arn }
    }

    /// `caller` must be the one these names are of.
    pub fn requester<'a>(&'a self, caller: &'a Caller) -> Requester<'a> {
        let kind = match &caller.principal {
            Principal::Anonymous => Kind::Anonymous,
            Principal::Root { .. } => Kind::Root,
            Principal::User { .. } => Kind::User,
            Principal::AssumedRole { .. } | Principal::Federated { .. } => {
                Kind::Session { issuer_arn: self.issuer_arn.as_deref().unwrap_or_default() }
            }
        };
        Requester {
            kind,
            arn: self.arn.as_deref(),
            account: caller.account().map(AccountId::as_str),
            unique_id: Some(&caller.user_id),
            canonical_id: None,
        }
    }
}

/// How a statement reached the caller; the strongest counts. What each is worth stands in `decide`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The account or its root: delegates to the account's own policies.
    Account,
    /// The role of the caller's session, or the user that made it.
    Role,
    /// `*`
    Anyone,
    /// The caller's own ARN or id, or an identity policy of his.
    Caller,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Anyone,
    /// Twelve digits or the account's root ARN.
    Account(String),
    /// Of a user, a role, a session.
    Arn(String),
    /// `AIDA…`, `AROA…`: what AWS stores for a user or role, so that one made later under its name is not meant.
    UniqueId(String),
    CanonicalUser(String),
    Federated(String),
    Service(String),
}

/// A `Principal` or `NotPrincipal` element.
#[derive(Clone, Debug)]
pub(crate) struct Principals {
    names: Vec<Name>,
    pub(crate) negated: bool,
}

impl Principals {
    /// Errors: what is neither `*` nor a map of known kinds to names without wildcards.
    pub(crate) fn read(value: &Json, negated: bool) -> Result<Self, MalformedPolicy> {
        let invalid = || MalformedPolicy::because("Invalid principal in policy");
        if value.text() == Some("*") {
            return Ok(Self { names: vec![Name::Anyone], negated });
        }
        let mut names = Vec::new();
        for (kind, list) in value.object().ok_or_else(invalid)? {
            for item in list.items() {
                let text = item.text().ok_or_else(invalid)?;
                names.push(match kind.as_str() {
                    "AWS" => aws(text).ok_or_else(invalid)?,
                    "Federated" if !text.is_empty() => Name::Federated(text.to_owned()),
                    "Service" if is_service(text) => Name::Service(text.to_owned()),
                    "CanonicalUser" if is_canonical(text) => Name::CanonicalUser(text.to_owned()),
                    _ => return Err(invalid()),
                });
            }
        }
        if names.is_empty() { Err(invalid()) } else { Ok(Self { names, negated }) }
    }

    /// Whether a statement with these principals speaks of the caller, and how. `bounded`: he has a permissions boundary, so that no
    /// `NotPrincipal` spares him. Source: IAM user guide, "NotPrincipal", key points.
    pub(crate) fn reach(&self, who: &Requester<'_>, bounded: bool) -> Option<Reach> {
        if !self.negated {
            return self.names.iter().filter_map(|name| name.reach(who)).max();
        }
        if bounded {
            return Some(Reach::Anyone);
        }
        let named = |reach: Reach| self.names.iter().any(|name| name.reach(who) == Some(reach));
        // The account is a principal of its own: a list that spares a user must name both.
        let spared = named(Reach::Anyone)
            || match who.kind {
                Kind::Anonymous => false,
                Kind::Root => named(Reach::Account),
                Kind::User => named(Reach::Account) && named(Reach::Caller),
                Kind::Session { .. } => named(Reach::Account) && (named(Reach::Role) || named(Reach::Caller)),
                Kind::Federated | Kind::Service => named(Reach::Caller),
            };
        (!spared).then_some(Reach::Anyone)
    }

    /// Whether the element leaves open who is meant.
    pub(crate) fn is_open(&self) -> bool {
        self.negated || self.names.contains(&Name::Anyone)
    }

    /// The users, roles, sessions and accounts that are named, by whatever name.
    pub(crate) fn aws_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            Name::Account(id) | Name::Arn(id) | Name::UniqueId(id) | Name::CanonicalUser(id) => Some(id.as_str()),
            Name::Anyone | Name::Federated(_) | Name::Service(_) => None,
        })
    }
}

impl Name {
    fn reach(&self, who: &Requester<'_>) -> Option<Reach> {
        let is = |known: Option<&str>, name: &str| known == Some(name);
        match self {
            Self::Anyone => Some(Reach::Anyone),
            Self::Account(id) => is(who.account, id).then_some(Reach::Account),
            Self::CanonicalUser(id) => is(who.canonical_id, id).then_some(Reach::Account),
            Self::Arn(arn) => match who.kind {
                Kind::Session { issuer_arn } if issuer_arn == arn => Some(Reach::Role),
                Kind::User | Kind::Session { .. } => is(who.arn, arn).then_some(Reach::Caller),
                Kind::Anonymous | Kind::Root | Kind::Federated | Kind::Service => None,
            },
            Self::UniqueId(id) => match who.kind {
                Kind::Session { .. } => {
                    let role = who.unique_id.and_then(|id| id.split_once(':')).map(|(role, _)| role);
                    is(role, id).then_some(Reach::Role)
                }
                Kind::User => is(who.unique_id, id).then_some(Reach::Caller),
                Kind::Anonymous | Kind::Root | Kind::Federated | Kind::Service => None,
            },
            Self::Federated(provider) => {
                (who.kind == Kind::Federated && (provider == "*" || is(who.arn, provider))).then_some(Reach::Caller)
            }
            Self::Service(name) => (who.kind == Kind::Service && is(who.arn, name)).then_some(Reach::Caller),
        }
    }
}

fn aws(text: &str) -> Option<Name> {
    let twelve = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if text == "*" {
        return Some(Name::Anyone);
    }
    if twelve(text) {
        return Some(Name::Account(text.to_owned()));
    }
    if is_unique_id(text) {
        return Some(Name::UniqueId(text.to_owned()));
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", "aws", service, "", account, resource] = parts.as_slice() else { return None };
    if !twelve(account) || resource.contains(['*', '?', '$', ' ']) {
        return None;
    }
    if (*service, *resource) == ("iam", "root") {
        return Some(Name::Account((*account).to_owned()));
    }
    let (kind, name) = resource.split_once('/')?;
    let whole = !name.is_empty() && !name.starts_with('/') && !name.ends_with('/');
    let known = match *service {
        "iam" => matches!(kind, "user" | "role"),
        "sts" if kind == "assumed-role" => name.split('/').count() == 2,
        "sts" => kind == "federated-user",
        _ => false,
    };
    (known && whole).then(|| Name::Arn(text.to_owned()))
}

/// `AIDA` or `AROA` and what follows: IAM user guide, "IAM identifiers".
fn is_unique_id(text: &str) -> bool {
    (16..=128).contains(&text.len())
        && (text.starts_with("AIDA") || text.starts_with("AROA"))
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_service(text: &str) -> bool {
    text.len() <= 128
        && text.contains('.')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}

fn is_canonical(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "111122223333";
    const USER: &str = "arn:aws:iam::111122223333:user/alice";
    const ROLE: &str = "arn:aws:iam::111122223333:role/team/app";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/app/s1";

    fn principals(json: &str, negated: bool) -> Result<Principals, MalformedPolicy> {
        Principals::read(&serde_json::from_str(json).unwrap(), negated)
    }
    fn user() -> Requester<'static> {
        Requester { unique_id: Some("AIDAEXAMPLEEXAMPLE123"), ..Requester::of(Kind::User, USER, ACCOUNT) }
    }
    fn session() -> Requester<'static> {
        let who = Requester::of(Kind::Session { issuer_arn: ROLE }, SESSION, ACCOUNT);
        Requester { unique_id: Some("AROAEXAMPLEEXAMPLE123:s1"), canonical_id: Some("ab"), ..who }
    }

    #[test]
    fn each_kind_of_name_reaches_its_caller() {
        for (json, of_user, of_session) in [
            (r#""*""#, Some(Reach::Anyone), Some(Reach::Anyone)),
            (r#"{"AWS":"*"}"#, Some(Reach::Anyone), Some(Reach::Anyone)),
            (r#"{"AWS":"111122223333"}"#, Some(Reach::Account), Some(Reach::Account)),
            (r#"{"AWS":"arn:aws:iam::111122223333:root"}"#, Some(Reach::Account), Some(Reach::Account)),
            (r#"{"AWS":["arn:aws:iam::111122223333:user/alice","*"]}"#, Some(Reach::Caller), Some(Reach::Anyone)),
            (r#"{"AWS":"arn:aws:iam::111122223333:user/Alice"}"#, None, None),
            (r#"{"AWS":"arn:aws:iam::111122223333:role/team/app"}"#, None, Some(Reach::Role)),
            (r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/app/s1"}"#, None, Some(Reach::Caller)),
            (r#"{"AWS":"AIDAEXAMPLEEXAMPLE123"}"#, Some(Reach::Caller), None),
            (r#"{"AWS":"AROAEXAMPLEEXAMPLE123"}"#, None, Some(Reach::Role)),
            (r#"{"AWS":"444455556666"}"#, None, None),
            (r#"{"Service":"s3.amazonaws.com","Federated":"accounts.google.com"}"#, None, None),
        ] {
            let principals = principals(json, false).unwrap();
            assert_eq!(
                (principals.reach(&user(), true), principals.reach(&session(), true)),
                (of_user, of_session),
                "{json}"
            );
        }
        let service = Requester { kind: Kind::Service, arn: Some("s3.amazonaws.com"), ..Requester::ANONYMOUS };
        assert_eq!(
            principals(r#"{"Service":"s3.amazonaws.com"}"#, false).unwrap().reach(&service, false),
            Some(Reach::Caller)
        );
    }

    #[test]
    fn not_principal_spares_a_user_only_with_his_account() {
        let reach = |json: &str, who: &Requester<'_>, bounded| principals(json, true).unwrap().reach(who, bounded);
        let hit = |json: &str, who: &Requester<'_>| reach(json, who, false).is_some();
        let both = r#"{"AWS":["arn:aws:iam::111122223333:user/alice","111122223333"]}"#;
        assert!(!hit(both, &user()) && hit(both, &session()) && hit(both, &Requester::ANONYMOUS));
        assert!(reach(both, &user(), true).is_some());
        assert!(hit(r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#, &user()));
        assert!(hit(r#"{"AWS":"111122223333"}"#, &user()) && hit(r#"{"AWS":"111122223333"}"#, &session()));
        let root = Requester::of(Kind::Root, "arn:aws:iam::111122223333:root", ACCOUNT);
        assert!(!hit(r#"{"AWS":"111122223333"}"#, &root));
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for json in [
            r#""alice""#,
            "{}",
            r#"{"AWS":[]}"#,
            r#"{"AWS":"arn:aws:iam::111122223333:user/*"}"#,
            r#"{"AWS":"arn:aws:iam::111122223333:group/g"}"#,
            r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/app"}"#,
            r#"{"AWS":"arn:aws:iam::1111:root"}"#,
            r#"{"Nobody":"x"}"#,
            r#"{"Service":"s3"}"#,
            r#"{"CanonicalUser":"xyz"}"#,
        ] {
            assert!(principals(json, false).is_err(), "{json}");
        }
    }
}
