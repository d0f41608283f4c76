//! Keys by the names that clients give them, and the door that each is used through.

use crate::{
    access::{Call, Needs},
    error::KmsError,
    key::{KeyManager, KeyRecord},
    new_key::S3_ALIAS,
    ring::{Entry, KeyRing},
};
use std::{fmt, sync::Arc};
use tresor_model::{AccountId, Caller, KeyArn};

/// What AWS says of a ciphertext whose key the caller cannot have, be it there or not.
pub(crate) const NO_SUCH_KEY: &str = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.";

/// A key that was named in a call.
#[derive(Clone)]
pub struct Found {
    pub arn: KeyArn,
    pub(crate) entry: Entry,
    /// The alias it was named by.
    pub alias: Option<String>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({})", self.arn)
    }
}

impl Found {
    pub fn record(&self) -> &KeyRecord {
        &self.entry.record
    }
}

impl KeyRing {
    /// The key a client named by id, key ARN, alias or alias ARN. Who may do what with it is not judged here.
    /// Errors: NotFound, InvalidKeyId; AccessDenied for what does not exist in another account.
    pub fn locate(&self, caller: &Caller, name: &str) -> Result<Found, KmsError> {
        let denied = || KmsError::AccessDenied(NO_SUCH_KEY.into());
        let own = caller.account().ok_or_else(denied)?;
        let (account, resource) = match name.strip_prefix("arn:") {
            None => (own.clone(), name.to_owned()),
            Some(_) => self.read_arn(name)?,
        };
        let (id, alias) = if resource.starts_with("alias/") {
            match self.alias(&account, &resource) {
                Some(id) => (id, Some(resource)),
                None if account == *own => {
                    let arn = self.alias_arn(&account, &resource);
                    return Err(KmsError::NotFound(format!("Alias {arn} is not found.")));
                }
                None => return Err(denied()),
            }
        } else {
            (resource.strip_prefix("key/").unwrap_or(&resource).to_owned(), None)
        };
        match self.find(&account, &id) {
            Some(entry) => Ok(Found { arn: self.arn(&account, &id)?, entry, alias }),
            None if !is_key_id(&id) => Err(KmsError::InvalidKeyId(format!("Invalid keyId '{id}'"))),
            None if account == *own => Err(not_found(&self.arn(&account, &id)?)),
            None => Err(denied()),
        }
    }

    /// As `locate`, for a call: what is not there in another account is refused as what is there and lets nobody in.
    /// Errors: NotFound, InvalidKeyId, AccessDenied.
    pub(crate) fn locate_for(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        self.locate(call.caller, name).map_err(|error| match error {
            KmsError::AccessDenied(_) => self.refuse_missing(call, name),
            other => other,
        })
    }

    /// For S3: the ARN behind a name, or behind none (`aws/s3`, made on first use). The key's state does not matter yet.
    /// Errors: NotFound, InvalidKeyId, AccessDenied.
    pub async fn resolve(&self, caller: &Caller, name: Option<&str>) -> Result<KeyArn, KmsError> {
        let anonymous = || KmsError::AccessDenied("an anonymous caller has no keys".into());
        let own = caller.account().ok_or_else(anonymous)?;
        let name = name.unwrap_or(S3_ALIAS);
        if (name == S3_ALIAS || name == self.alias_arn(own, S3_ALIAS)) && self.alias(own, S3_ALIAS).is_none() {
            let id = self.create_s3_key(own).await?;
            return self.arn(own, &id);
        }
        Ok(self.locate(caller, name)?.arn)
    }

    fn read_arn(&self, arn: &str) -> Result<(AccountId, String), KmsError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let invalid = || KmsError::InvalidKeyId(format!("Invalid keyId '{arn}'"));
        let ["arn", "aws", "kms", region, account, resource] = parts.as_slice() else { return Err(invalid()) };
        if *region != self.region {
            return Err(KmsError::InvalidKeyId(format!("Invalid arn {region}")));
        }
        if !resource.starts_with("key/") && !resource.starts_with("alias/") {
            return Err(invalid());
        }
        Ok((account.parse().map_err(|_| invalid())?, (*resource).to_owned()))
    }

    /// A key that the caller may do this with, in a state in which it can be done.
    /// Errors: NotFound, InvalidKeyId, AccessDenied, Disabled, InvalidState.
    pub(crate) fn admit(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        let found = self.locate_for(call, name)?;
        let call = Call { alias: found.alias.clone(), ..call.clone() };
        self.permit(&call, &found.entry, &found.arn)?;
        found.entry.record.demand(needs, &found.arn, self.clock.now())?;
        Ok(found)
    }

    /// As `admit`, for operations that change a key: by id or ARN only, and never a key that AWS manages.
    pub(crate) fn admit_change(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        let found = self.admit_by_id(call, name, Needs::Nothing)?;
        if found.record().manager == KeyManager::Aws {
            return Err(KmsError::AccessDenied(format!(
                "User: {} is not authorized to perform: kms:{} on resource: {}",
                call.caller.principal.arn().unwrap_or_default(),
                call.operation,
                found.arn
            )));
        }
        found.entry.record.demand(needs, &found.arn, self.clock.now())?;
        Ok(found)
    }

    /// As `admit`, for operations that take no alias.
    pub(crate) fn admit_by_id(&self, call: &Call<'_>, name: &str, needs: Needs) -> Result<Found, KmsError> {
        if name.starts_with("alias/") || (name.starts_with("arn:") && name.contains(":alias/")) {
            return Err(KmsError::InvalidKeyId(format!("Invalid keyId '{name}'")));
        }
        self.admit(call, name, needs)
    }

    /// For S3's use of a key on a caller's behalf. Errors: AccessDenied, NotFound, Disabled, InvalidState.
    pub(crate) fn authorize(&self, call: &Call<'_>, arn: &KeyArn) -> Result<Arc<KeyRecord>, KmsError> {
        let found = self.admit(call, arn.as_str(), Needs::Use)?;
        if !found.record().spec.is_symmetric() {
            let usage = found.record().usage.name();
            let why = format!("{arn} key usage is {usage} which is not valid for {}.", call.operation);
            return Err(KmsError::InvalidKeyUsage(why));
        }
        self.used(call, found.record());
        Ok(found.entry.record)
    }
}

/// Whether `id` has the shape of a key id that KMS makes: a UUID, or `mrk-` and 32 hex digits.
fn is_key_id(id: &str) -> bool {
    let uuid = id.len() == 36
        && id
            .bytes()
            .enumerate()
            .all(|(n, b)| if matches!(n, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() });
    uuid || id.strip_prefix("mrk-").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(crate) fn not_found(arn: &KeyArn) -> KmsError {
    KmsError::NotFound(format!("Key '{arn}' does not exist"))
}
