//! Grants: permissions beside the key policy, given by whoever may give them.

use crate::{
    access::{Call, Needs, covers},
    error::KmsError,
    key::GrantRecord,
    names::Found,
    ring::KeyRing,
    traits::Change,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tresor_envelope::hkdf;
use tresor_policy::CallerNames;

/// Grants of one key.
const MAX_GRANTS: usize = 50_000;

/// Operations a grant can allow.
pub const GRANT_OPERATIONS: &[&str] = &[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
];

/// What a grant is asked to be.
#[derive(Clone, Debug, Default)]
pub struct NewGrant {
    pub grantee: String,
    pub retiring: Option<String>,
    pub operations: Vec<String>,
    pub name: Option<String>,
    pub context_equals: Option<Vec<(String, String)>>,
    pub context_subset: Option<Vec<(String, String)>>,
}

impl KeyRing {
    /// A token names a grant: `account/key/grant/random`, with a MAC.
    fn token(&self, grant: &GrantRecord) -> String {
        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        let text = format!("{}/{}/{}/{}", grant.account, grant.key_id, grant.id, hex::encode(random));
        STANDARD.encode([&self.token_mac(text.as_bytes())[..], text.as_bytes()].concat())
    }
    fn token_mac(&self, text: &[u8]) -> [u8; 16] {
        let mut mac = [0; 16];
        hkdf(self.tokens.expose(), &[], &[b"tresor/v1/grant-token", text], &mut mac);
        mac
    }
    /// The grant of a token. Errors: InvalidGrantToken.
    fn of_token(&self, token: &str) -> Result<Arc<GrantRecord>, KmsError> {
        let invalid = || KmsError::InvalidGrantToken;
        let bytes = STANDARD.decode(token).map_err(|_| invalid())?;
        let (mac, text) = bytes.split_at_checked(16).ok_or_else(invalid)?;
        if !bool::from(self.token_mac(text).ct_eq(mac)) {
            return Err(invalid());
        }
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let parts: Vec<&str> = text.split('/').collect();
        let [account, key_id, id, _] = parts.as_slice() else { return Err(invalid()) };
        let name = (account.parse().map_err(|_| invalid())?, (*key_id).to_owned());
        let keys = self.keys.read();
        keys.grants.get(&name).and_then(|grants| grants.get(*id)).cloned().ok_or_else(invalid)
    }

    /// Grants count at once, so a token adds nothing; but one that names no grant is refused. Errors: InvalidGrantToken.
    pub fn check_tokens(&self, tokens: &[String]) -> Result<(), KmsError> {
        tokens.iter().try_for_each(|token| self.of_token(token).map(drop))
    }

    /// The grant's id and a token. The same name with the same parameters gives the same grant.
    /// Errors: those of the key's door, Validation, LimitExceeded.
    pub async fn create_grant(
        &self,
        call: &Call<'_>,
        name: &str,
        mut new: NewGrant,
        dry: bool,
    ) -> Result<(Found, String, String), KmsError> {
        let _turn = self.turn().await;
        new.operations.sort_unstable();
        new.operations.dedup();
        for pairs in [&mut new.context_equals, &mut new.context_subset].into_iter().flatten() {
            pairs.sort_unstable();
        }
        let mut call = call.clone();
        call.keys.set("kms:GranteePrincipal", new.grantee.clone());
        call.keys.set("kms:GrantIsForAWSResource", call.via.is_some().to_string());
        if let Some(retiring) = &new.retiring {
            call.keys.set("kms:RetiringPrincipal", retiring.clone());
        }
        call.keys.set_all("kms:GrantOperations", new.operations.clone());
        match (&new.context_equals, &new.context_subset) {
            (Some(_), _) => drop(call.keys.set("kms:GrantConstraintType", "EncryptionContextEquals")),
            (None, Some(_)) => drop(call.keys.set("kms:GrantConstraintType", "EncryptionContextSubset")),
            (None, None) => {}
        }
        let found = self.admit_by_id(&call, name, Needs::Use)?;
        if found.record().manager == crate::key::KeyManager::Aws {
            return Err(KmsError::AccessDenied(format!("{}: AWS manages it", found.arn)));
        }
        for principal in [Some(&new.grantee), new.retiring.as_ref()].into_iter().flatten() {
            if !self.identities.exists(principal) {
                return Err(KmsError::InvalidArn(format!("ARN does not refer to a valid principal: {principal}")));
            }
        }
        if !found.record().spec.is_symmetric() && (new.context_equals.is_some() || new.context_subset.is_some()) {
            return Err(KmsError::Validation(
                "EncryptionContext constraints apply to symmetric encryption keys only.".into(),
            ));
        }
        self.check_child(&call, &found, &new)?;
        if dry {
            return Err(KmsError::DryRun);
        }
        let grants = self.grants_of(found.record());
        let issuer = call.caller.account().map(|account| format!("arn:aws:iam::{account}:root")).unwrap_or_default();
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        let grant = GrantRecord {
            id: hex::encode(random),
            account: found.record().account.clone(),
            key_id: found.record().id.clone(),
            name: new.name,
            created: self.clock.now(),
            grantee: new.grantee,
            retiring: new.retiring,
            issuer,
            operations: new.operations,
            context_equals: new.context_equals,
            context_subset: new.context_subset,
        };
        let same = grants.iter().find(|known| {
            let alike = GrantRecord { id: known.id.clone(), created: known.created, ..grant.clone() };
            grant.name.is_some() && ***known == alike
        });
        if let Some(known) = same {
            return Ok((found, known.id.clone(), self.token(known)));
        }
        if grants.len() >= MAX_GRANTS {
            return Err(KmsError::LimitExceeded(format!("{} has its limit of {MAX_GRANTS} grants.", found.arn)));
        }
        let (id, token) = (grant.id.clone(), self.token(&grant));
        self.commit(vec![Change::PutGrant(grant)], call.record(&found.arn).as_ref()).await?;
        Ok((found, id, token))
    }

    /// Who may make grants only by a grant hands on no more than he has. Errors: AccessDenied.
    fn check_child(&self, call: &Call<'_>, found: &Found, new: &NewGrant) -> Result<(), KmsError> {
        // Allowed without any grant: the caller is a grantor in his own right.
        if self.permits_with(call, found, None) {
            return Ok(());
        }
        let names = CallerNames::of(call.caller);
        let who = names.requester(call.caller);
        // A grant to the caller's account or role hands on as one to himself does, where it lets him call at all.
        let within = |parent: &GrantRecord| {
            covers(parent, call, found.record(), &who).is_some_and(|reach| self.permits_with(call, found, Some(reach)))
                && new.operations.iter().all(|op| parent.operations.contains(op))
                && parent.context_equals.as_ref().is_none_or(|pairs| new.context_equals.as_ref() == Some(pairs))
                && parent.context_subset.as_ref().is_none_or(|pairs| {
                    let given = new.context_equals.as_ref().or(new.context_subset.as_ref());
                    given.is_some_and(|given| pairs.iter().all(|pair| given.contains(pair)))
                })
        };
        if self.grants_of(found.record()).iter().any(|parent| within(parent)) {
            return Ok(());
        }
        let arn = call.caller.principal.arn().unwrap_or_default();
        Err(KmsError::AccessDenied(format!(
            "User: {arn} is not authorized to perform: kms:CreateGrant on resource: {} because a grant allows to hand on no more than it holds",
            found.arn
        )))
    }

    /// Grants of a key, by id.
    pub fn list_grants(&self, call: &Call<'_>, name: &str) -> Result<(Found, Vec<Arc<GrantRecord>>), KmsError> {
        let found = self.admit_by_id(call, name, Needs::Nothing)?;
        let grants = self.grants_of(found.record());
        Ok((found, grants))
    }

    /// Grants of the caller's account that a principal may retire, by id.
    pub fn list_retirable(&self, call: &Call<'_>, principal: &str) -> Result<Vec<Arc<GrantRecord>>, KmsError> {
        // A principal asks for its own grants without any permission.
        if call.caller.principal.arn().as_deref() != Some(principal) {
            self.permit_account(call, "*")?;
        }
        let account = call.caller.account();
        let keys = self.keys.read();
        let mut grants: Vec<_> = keys
            .grants
            .values()
            .flat_map(|grants| grants.values())
            .filter(|grant| grant.retiring.as_deref() == Some(principal) && Some(&grant.account) == account)
            .cloned()
            .collect();
        grants.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(grants)
    }

    /// Errors: InvalidGrantId.
    fn grant(&self, found: &Found, id: &str) -> Result<Arc<GrantRecord>, KmsError> {
        let grants = self.grants_of(found.record());
        grants.into_iter().find(|grant| grant.id == id).ok_or_else(|| KmsError::InvalidGrantId(id.to_owned()))
    }

    async fn remove_grant(&self, call: &Call<'_>, key: &Found, grant: &GrantRecord, dry: bool) -> Result<(), KmsError> {
        if dry {
            return Err(KmsError::DryRun);
        }
        let (account, key_id, id) = (grant.account.clone(), grant.key_id.clone(), grant.id.clone());
        self.commit(vec![Change::RemoveGrant { account, key_id, id }], call.record(&key.arn).as_ref()).await
    }

    /// Errors: InvalidGrantId, DryRun, those of the key's door.
    pub async fn revoke_grant(&self, call: &Call<'_>, name: &str, id: &str, dry: bool) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        let found = self.admit_by_id(call, name, Needs::Nothing)?;
        let grant = self.grant(&found, id)?;
        self.remove_grant(call, &found, &grant, dry).await?;
        Ok(found)
    }

    /// By a token, or by key and grant id. The retiring principal may, the grantee if RetireGrant is among the operations, and the
    /// account that made the grant: its root, or whoever of it the policies allow. Errors: InvalidGrantToken, InvalidGrantId, AccessDenied, DryRun.
    pub async fn retire_grant(
        &self,
        call: &Call<'_>,
        token: Option<&str>,
        key_and_id: Option<(&str, &str)>,
        dry: bool,
    ) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        let grant = match (token, key_and_id) {
            (Some(token), _) => self.of_token(token)?,
            (None, Some((key, id))) => {
                let found = self.locate_for(call, key)?;
                let foreign = call.caller.account() != Some(&found.record().account);
                self.grant(&found, id).map_err(|error| if foreign { self.refuse_missing(call, key) } else { error })?
            }
            (None, None) => return Err(KmsError::Validation("GrantToken, or KeyId and GrantId, are required.".into())),
        };
        let arn = self.arn(&grant.account, &grant.key_id)?;
        let found = self.locate(call.caller, arn.as_str())?;
        let caller = call.caller.principal.arn().unwrap_or_default();
        let by_grantee = grant.grantee == caller && grant.operations.iter().any(|op| op == "RetireGrant");
        if grant.retiring.as_deref() != Some(&caller) && grant.issuer != caller && !by_grantee {
            // Policies alone let nobody else retire: docs of KMS, "Retiring and revoking grants".
            let names = CallerNames::of(call.caller);
            let reach = covers(&grant, call, found.record(), &names.requester(call.caller));
            let issuer = call.caller.account().map(|account| format!("arn:aws:iam::{account}:root"));
            match issuer == Some(grant.issuer.clone()) {
                true => self.permit(call, &found.entry, &found.arn)?,
                false if reach.is_some_and(|reach| self.permits_with(call, &found, Some(reach))) => {}
                false => return Err(self.refuse_missing(call, arn.as_str())),
            }
        }
        self.remove_grant(call, &found, &grant, dry).await?;
        Ok(found)
    }
}
