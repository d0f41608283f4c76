//! Temporary credentials. A session token holds everything about its session, sealed, so that nothing grows on the server.
//! docs/format.md, "Session tokens".

use crate::{
    directory::{Directory, NoSigner},
    error::IdentityError,
    limits,
    records::Kind,
    secret::SecretAccessKey,
    world::{Credential, World, unique_id},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{fmt, sync::Arc};
use tresor_envelope::{unwrap, wrap};
use tresor_model::{AccountId, Principal, Session, Timestamp};
use zeroize::{Zeroize, Zeroizing};

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Subject {
    #[n(0)]
    Root {
        #[n(0)]
        account: AccountId,
    },
    #[n(1)]
    User {
        #[n(0)]
        account: AccountId,
        #[n(1)]
        path: String,
        #[n(2)]
        name: String,
        /// `AIDA...`
        #[n(3)]
        id: String,
    },
    #[n(2)]
    Role {
        #[n(0)]
        account: AccountId,
        #[n(1)]
        path: String,
        #[n(2)]
        name: String,
        /// `AROA...`
        #[n(3)]
        id: String,
        #[n(4)]
        session: String,
    },
    /// A session made by a user for a name of its choice.
    #[n(3)]
    Federated {
        #[n(0)]
        account: AccountId,
        #[n(1)]
        name: String,
        #[n(2)]
        user: String,
        /// The user's id.
        #[n(3)]
        id: String,
    },
}

impl Subject {
    pub fn principal(&self) -> Principal {
        match self.clone() {
            Self::Root { account } => Principal::Root { account },
            Self::User { account, path, name, .. } => Principal::User { account, path, name },
            Self::Role { account, path, name, session, .. } => {
                Principal::AssumedRole { account, path, role: name, session }
            }
            Self::Federated { account, name, user, .. } => Principal::Federated { account, name, user },
        }
    }
    /// `aws:userid`
    pub fn user_id(&self) -> String {
        match self {
            Self::Root { account } => account.to_string(),
            Self::User { id, .. } => id.clone(),
            Self::Role { id, session, .. } => format!("{id}:{session}"),
            Self::Federated { account, name, .. } => format!("{account}:{name}"),
        }
    }
    /// Whether the user or role is still the one it was.
    fn lives(&self, world: &World) -> bool {
        let same = |account, kind, name, id: &str| {
            world.member(account, kind, name).is_some_and(|member| member.record.id == id)
        };
        match self {
            Self::Root { account } => world.account(account).is_some(),
            Self::User { account, name, id, .. } => same(account, Kind::User, name, id),
            Self::Role { account, name, id, .. } => same(account, Kind::Role, name, id),
            Self::Federated { account, user, id, .. } => same(account, Kind::User, user, id),
        }
    }
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub subject: Subject,
    pub seconds: u64,
    pub tags: Vec<(String, String)>,
    pub transitive_tags: Vec<String>,
    pub source_identity: Option<String>,
    pub policy: Option<String>,
    pub policy_arns: Vec<String>,
    pub federated: Vec<(String, String)>,
    /// The long-term key whose disabling ends the session too: for sessions of users and of root.
    pub issuer_key: Option<String>,
}

/// Temporary credentials, to be shown once.
#[derive(Debug)]
pub struct Issued {
    pub access_key_id: String,
    pub secret: SecretAccessKey,
    pub token: SessionToken,
    pub expires: Timestamp,
    /// Per cent of what a session may carry.
    pub packed_size: Option<usize>,
}

/// It signs together with its secret, and does not print.
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// For showing it to whom it was made for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

/// The sealed content of a token.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Content {
    #[n(0)]
    access_key_id: String,
    #[n(1)]
    secret: String,
    #[n(2)]
    subject: Subject,
    #[n(3)]
    issued: Timestamp,
    #[n(4)]
    expires: Timestamp,
    #[n(5)]
    tags: Vec<(String, String)>,
    #[n(6)]
    transitive_tags: Vec<String>,
    #[n(7)]
    source_identity: Option<String>,
    #[n(8)]
    policy: Option<String>,
    #[n(9)]
    policy_arns: Vec<String>,
    #[n(10)]
    federated: Vec<(String, String)>,
    #[n(11)]
    issuer_key: Option<String>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// A token that was opened.
pub(crate) struct OpenSession {
    access_key_id: String,
    expires: Timestamp,
    subject: Subject,
    issuer_key: Option<String>,
    credential: Arc<Credential>,
}

const LABEL: &[u8] = b"tresor/v1/session-token";
const FORMAT: u8 = 1;
/// Longer texts are no tokens of ours.
const MAX_TOKEN: usize = 16 * 1024;

impl Directory {
    /// Makes temporary credentials. The caller has judged whether they may be had. Errors: PackedPolicyTooLarge, Unavailable.
    pub fn issue(&self, new: NewSession) -> Result<Issued, IdentityError> {
        let parts = self.parts()?;
        let packed = new.policy.as_deref().map_or(0, str::len)
            + new.policy_arns.iter().map(String::len).sum::<usize>()
            + new.tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let percent = packed * 100 / limits::PACKED_SESSION_SIZE;
        if percent > 100 {
            return Err(IdentityError::PackedPolicyTooLarge(if new.tags.is_empty() {
                format!("Packed policy consumes {percent}% of allotted space, please use smaller policy.")
            } else {
                format!("Packed size of session tags consumes {percent}% of allotted space.")
            }));
        }
        let mut random = Zeroizing::new([0; 46]);
        parts.entropy.fill(&mut random[..]);
        let access_key_id = unique_id("ASIA", &random[..16]);
        let secret = SecretAccessKey::new(STANDARD.encode(&random[16..]));
        let issued = parts.clock.now();
        let expires = issued.plus_millis(new.seconds * 1000);
        let content = Content {
            access_key_id: access_key_id.clone(),
            secret: secret.expose().to_owned(),
            subject: new.subject,
            issued,
            expires,
            tags: new.tags,
            transitive_tags: new.transitive_tags,
            source_identity: new.source_identity,
            policy: new.policy,
            policy_arns: new.policy_arns,
            federated: new.federated,
            issuer_key: new.issuer_key,
        };
        let plain =
            Zeroizing::new(minicbor::to_vec(&content).map_err(|error| IdentityError::Unavailable(error.to_string()))?);
        let sealed = [&[FORMAT][..], &wrap(&parts.sessions, &*parts.entropy, LABEL, &plain)].concat();
        let token = SessionToken(Zeroizing::new(STANDARD.encode(sealed)));
        let packed_size = (packed > 0).then_some(percent.max(1));
        Ok(Issued { access_key_id, secret, token, expires, packed_size })
    }

    pub(crate) fn session_signer(
        &self,
        access_key_id: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Credential>, NoSigner> {
        let known = self.sessions.lock().get(token).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                let session = Arc::new(self.open_token(token).ok_or(NoSigner::InvalidToken)?);
                let mut sessions = self.sessions.lock();
                if sessions.len() >= limits::CACHED_SESSIONS {
                    sessions.clear();
                }
                sessions.insert(token.to_owned(), Arc::clone(&session));
                session
            }
        };
        if session.access_key_id != access_key_id {
            return Err(NoSigner::InvalidToken);
        }
        if now >= session.expires {
            return Err(NoSigner::ExpiredToken);
        }
        let world = self.world();
        let issuer = session.issuer_key.as_ref();
        let issuer_lives = issuer.is_none_or(|id| world.keys.get(id).is_some_and(|entry| entry.active));
        if !issuer_lives || !session.subject.lives(&world) {
            return Err(NoSigner::InvalidToken);
        }
        Ok(Arc::clone(&session.credential))
    }

    fn open_token(&self, token: &str) -> Option<OpenSession> {
        let parts = self.parts.as_ref()?;
        if token.len() > MAX_TOKEN {
            return None;
        }
        let sealed = STANDARD.decode(token).ok()?;
        let (&FORMAT, sealed) = sealed.split_first()? else { return None };
        let plain = unwrap(&parts.sessions, LABEL, sealed).ok()?;
        let mut content: Content = minicbor::decode(&plain).ok()?;
        let session = Session {
            issued: content.issued,
            expires: content.expires,
            tags: std::mem::take(&mut content.tags),
            transitive_tags: std::mem::take(&mut content.transitive_tags),
            source_identity: content.source_identity.take(),
            policy: content.policy.take(),
            policy_arns: std::mem::take(&mut content.policy_arns),
            federated: std::mem::take(&mut content.federated),
        };
        let credential = Credential {
            principal: content.subject.principal(),
            user_id: content.subject.user_id(),
            secret: SecretAccessKey::new(std::mem::take(&mut content.secret)),
            session: Some(Arc::new(session)),
        };
        Some(OpenSession {
            access_key_id: std::mem::take(&mut content.access_key_id),
            expires: content.expires,
            subject: content.subject.clone(),
            issuer_key: content.issuer_key.take(),
            credential: Arc::new(credential),
        })
    }
}
