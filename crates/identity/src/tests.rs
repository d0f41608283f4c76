use crate::*;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tresor_model::{AccountId, Caller, Clock, Entropy, Principal, Timestamp};
use zeroize::Zeroizing;

#[derive(Debug, Default)]
struct Machine {
    millis: AtomicU64,
    drawn: AtomicU64,
}
impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::Relaxed))
    }
}
impl Entropy for Machine {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let n = self.drawn.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&tresor_digest::sha256(&n.to_be_bytes())[..chunk.len()]);
        }
    }
}

/// Keeps the last state of every row.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<IdentityRecord>>);
#[async_trait::async_trait]
impl IdentityStore for Memory {
    async fn rows(&self) -> Result<Vec<(String, Result<KeptRow, IdentityError>)>, IdentityError> {
        let rows = self.0.lock();
        Ok(rows.iter().map(|record| (record.arn(), Ok(KeptRow::Identity(record.clone())))).collect())
    }
    async fn commit(
        &self,
        changes: &[IdentityChange],
        _: Option<&tresor_model::ChangeRecord>,
    ) -> Result<(), IdentityError> {
        let mut rows = self.0.lock();
        for change in changes {
            match change {
                IdentityChange::Put(record) => {
                    rows.retain(|row| (row.kind, &row.name) != (record.kind, &record.name));
                    rows.push(record.clone());
                }
                IdentityChange::Remove { kind, name, .. } => rows.retain(|row| (row.kind, &row.name) != (*kind, name)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn id() -> AccountId {
    "111122223333".parse().unwrap()
}

fn writing() -> Writing {
    Writing::of(&id())
}

fn declared() -> Directory {
    let mut directory = Directory::default();
    let account = Account { id: id(), name: "main".into(), canonical_id: "0".repeat(64), email: None };
    directory.add_account(account).unwrap();
    directory
}

async fn opened(store: &Arc<Memory>, machine: &Arc<Machine>) -> Arc<Directory> {
    let parts = DirectoryParts {
        store: store.clone(),
        secrets: Zeroizing::new([1; 32]),
        sessions: Zeroizing::new([2; 32]),
        clock: machine.clone(),
        entropy: machine.clone(),
    };
    Arc::new(declared().open(parts).await.unwrap())
}

fn user(name: &str) -> NewMember {
    NewMember { kind: Kind::User, name: name.into(), path: "/".into(), tags: Vec::new(), boundary: None, role: None }
}

const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

#[test]
fn one_access_key_has_one_secret() {
    let mut directory = Directory::default();
    let root = || Principal::Root { account: id() };
    let credential = |secret: &str| Credential::new(root(), SecretAccessKey::new(secret));
    assert!(matches!(directory.add_credential("A", credential("s")), Err(DirectoryError::NoAccount(_))));
    let mut directory = declared();
    directory.add_credential("A", credential("s")).unwrap();
    directory.add_credential("A", credential("s")).unwrap();
    assert!(matches!(directory.add_credential("A", credential("t")), Err(DirectoryError::TwoSecrets(_))));
    let signer = directory.signer("A", None, Timestamp::default()).unwrap();
    assert_eq!(format!("{:?}", signer.secret), "SecretAccessKey");
}

#[tokio::test]
async fn what_is_made_signs_until_it_is_disabled_and_outlives_the_process() {
    let (store, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let directory = opened(&store, &machine).await;
    directory.create(&writing(), user("bob")).await.unwrap();
    let (key, secret) = directory.create_key(&writing(), "bob").await.unwrap();
    assert!(!format!("{:?}", store.0.lock()).contains(secret.expose()));
    let signs =
        |directory: &Directory| directory.signer(&key.id, None, machine.now()).map(|found| found.secret.clone());
    assert!(signs(&directory).unwrap().equals(&secret));
    directory
        .update(&writing(), Kind::User, "bob", MemberUpdate { new_name: Some("rob".into()), ..MemberUpdate::default() })
        .await
        .unwrap();
    let renamed = opened(&store, &machine).await;
    for directory in [&directory, &renamed] {
        assert!(signs(directory).unwrap().equals(&secret));
        let principal = directory.signer(&key.id, None, machine.now()).unwrap().principal.clone();
        assert_eq!(principal, Principal::user(id(), "rob"));
    }
    directory.set_key(&writing(), "rob", &key.id, false).await.unwrap();
    assert_eq!(signs(&directory).unwrap_err(), NoSigner::Unknown);
    assert!(matches!(directory.delete(&writing(), Kind::User, "rob").await, Err(IdentityError::DeleteConflict(_))));
    directory.delete_key(&writing(), "rob", &key.id).await.unwrap();
    directory.delete(&writing(), Kind::User, "rob").await.unwrap();
    assert!(store.0.lock().is_empty());
}

#[tokio::test]
async fn a_changed_policy_binds_the_next_request() {
    let (store, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let directory = opened(&store, &machine).await;
    directory.create(&writing(), user("bob")).await.unwrap();
    directory.create(&writing(), NewMember { kind: Kind::Group, ..user("team") }).await.unwrap();
    let caller = Caller::local(Principal::user(id(), "bob"));
    assert_eq!(directory.bindings(&caller).identity.len(), 0);
    directory.put_inline(&writing(), (Kind::Group, "team"), "p", ALLOW).await.unwrap();
    directory.set_group(&writing(), "bob", "team", true).await.unwrap();
    directory.attach(&writing(), (Kind::User, "bob"), "arn:aws:iam::aws:policy/AdministratorAccess").await.unwrap();
    assert_eq!(directory.bindings(&caller).identity.len(), 2);
    directory.delete_inline(&writing(), (Kind::Group, "team"), "p").await.unwrap();
    assert_eq!(directory.bindings(&caller).identity.len(), 1);
    let broken = directory.put_inline(&writing(), (Kind::User, "bob"), "p", "{}").await;
    assert!(matches!(broken, Err(IdentityError::MalformedPolicy(_))));
    assert!(matches!(directory.create(&writing(), user("BOB")).await, Err(IdentityError::EntityAlreadyExists(_))));
}

#[tokio::test]
async fn a_session_ends_with_its_time_its_role_and_any_change_of_its_token() {
    let (store, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let directory = opened(&store, &machine).await;
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}}"#;
    let detail = RoleDetail { description: None, max_session_seconds: 3600, trust: trust.into() };
    let new = NewMember { kind: Kind::Role, role: Some(detail), ..user("app") };
    let role = directory.create(&writing(), new.clone()).await.unwrap();
    let subject = Subject::Role {
        account: id(),
        path: "/".into(),
        name: "app".into(),
        id: role.record.id.clone(),
        session: "s".into(),
    };
    let new_session = NewSession {
        subject,
        seconds: 900,
        tags: Vec::new(),
        transitive_tags: Vec::new(),
        source_identity: None,
        policy: Some(ALLOW.into()),
        policy_arns: Vec::new(),
        federated: Vec::new(),
        issuer_key: None,
    };
    let issued = directory.issue(new_session).unwrap();
    let (key, token) = (issued.access_key_id.as_str(), issued.token.expose());
    let signs = |token: &str, at| directory.signer(key, Some(token), Timestamp::from_millis(at));
    let credential = signs(token, 0).unwrap();
    assert!(credential.secret.equals(&issued.secret));
    let caller = credential.caller(key, "127.0.0.1".parse().unwrap(), true);
    assert_eq!(caller.principal.arn().as_deref(), Some("arn:aws:sts::111122223333:assumed-role/app/s"));
    assert_eq!(directory.bindings(&caller).session.map(|policies| policies.len()), Some(1));
    assert_eq!(signs(token, 900_000).unwrap_err(), NoSigner::ExpiredToken);
    assert_eq!(directory.signer(key, None, Timestamp::default()).unwrap_err(), NoSigner::Unknown);
    assert_eq!(directory.signer("ASIAOTHER", Some(token), Timestamp::default()).unwrap_err(), NoSigner::InvalidToken);
    for n in (0..token.len()).step_by(7) {
        let mut broken = token.as_bytes().to_vec();
        broken[n] = if broken[n] == b'A' { b'B' } else { b'A' };
        assert!(signs(&String::from_utf8(broken).unwrap(), 0).is_err(), "character {n}");
    }
    directory.delete(&writing(), Kind::Role, "app").await.unwrap();
    assert_eq!(signs(token, 0).unwrap_err(), NoSigner::InvalidToken);
    // Another role under the old name is another one.
    directory.create(&writing(), new).await.unwrap();
    assert_eq!(signs(token, 0).unwrap_err(), NoSigner::InvalidToken);
}
