//! Names of keys.

use crate::{
    access::{Call, Needs},
    error::KmsError,
    key::AliasRecord,
    names::Found,
    new_key::S3_ALIAS,
    ring::KeyRing,
    traits::Change,
};
use tresor_model::AccountId;

/// Aliases of one key.
const MAX_ALIASES: usize = 50;

/// `alias/` and letters, digits, `/`, `_`, `-`, `:`; 256 characters at most; not below `alias/aws/`.
/// Errors: Validation, InvalidAliasName.
pub(crate) fn check_name(name: &str) -> Result<(), KmsError> {
    let Some(rest) = name.strip_prefix("alias/") else {
        return Err(KmsError::Validation("Alias must start with the prefix \"alias/\". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html".into()));
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b':');
    if rest.is_empty() || name.len() > 256 || !rest.bytes().all(allowed) {
        return Err(KmsError::Validation(format!(
            "1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$"
        )));
    }
    if rest.starts_with("aws/") || rest.contains(':') {
        return Err(KmsError::InvalidAliasName(format!(
            "{name} contains invalid characters or a reserved prefix for an alias"
        )));
    }
    Ok(())
}

impl KeyRing {
    fn own<'a>(call: &'a Call<'_>) -> Result<&'a AccountId, KmsError> {
        call.caller.account().ok_or_else(|| KmsError::AccessDenied("an anonymous caller has no aliases".into()))
    }

    fn room(&self, target: &Found) -> Result<(), KmsError> {
        if self.aliases_of(target.record()).len() >= MAX_ALIASES {
            return Err(KmsError::LimitExceeded(format!("{} has its limit of {MAX_ALIASES} aliases.", target.arn)));
        }
        Ok(())
    }

    /// Errors: AlreadyExists, InvalidAliasName, LimitExceeded, those of the key's door.
    pub async fn create_alias(&self, call: &Call<'_>, name: &str, target: &str) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        check_name(name)?;
        let account = Self::own(call)?.clone();
        let arn = self.alias_arn(&account, name);
        self.permit_account(call, &arn)?;
        let found = self.admit_change(call, target, Needs::Living)?;
        self.alias_is_free(&account, name)?;
        self.room(&found)?;
        let now = self.clock.now();
        let key_id = found.record().id.clone();
        let alias = AliasRecord { name: name.into(), account, key_id, created: now, updated: now };
        self.commit(vec![Change::PutAlias(alias)], call.record(&found.arn).as_ref()).await?;
        Ok(found)
    }

    /// Whether an alias of this name could be made. Errors: InvalidAliasName, AlreadyExists.
    pub fn alias_is_free(&self, account: &AccountId, name: &str) -> Result<(), KmsError> {
        check_name(name)?;
        match self.alias(account, name) {
            Some(_) => {
                let arn = self.alias_arn(account, name);
                Err(KmsError::AlreadyExists(format!("An alias with the name {arn} already exists")))
            }
            None => Ok(()),
        }
    }

    /// Errors: NotFound, Validation for a target of another type or usage, those of both keys' doors.
    pub async fn update_alias(&self, call: &Call<'_>, name: &str, target: &str) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        check_name(name)?;
        let account = Self::own(call)?.clone();
        let arn = self.alias_arn(&account, name);
        let key = (account.clone(), name.to_owned());
        let known = self.keys.read().aliases.get(&key).cloned();
        let mut alias = known.ok_or_else(|| KmsError::NotFound(format!("Alias {arn} is not found.")))?;
        self.permit_account(call, &arn)?;
        let old = self.admit_change(call, &alias.key_id, Needs::Nothing)?;
        let found = self.admit_change(call, target, Needs::Living)?;
        if old.record().usage != found.record().usage || old.record().spec != found.record().spec {
            return Err(KmsError::Validation(format!(
                "Alias {arn} must be associated with a KMS key of the same type and key usage."
            )));
        }
        if old.arn != found.arn {
            self.room(&found)?;
        }
        alias.key_id.clone_from(&found.record().id);
        alias.updated = self.clock.now();
        self.commit(vec![Change::PutAlias(alias)], call.record(&found.arn).as_ref()).await?;
        Ok(found)
    }

    /// Errors: NotFound, InvalidAliasName for a reserved one.
    pub async fn delete_alias(&self, call: &Call<'_>, name: &str) -> Result<Found, KmsError> {
        let _turn = self.turn().await;
        check_name(name)?;
        let account = Self::own(call)?.clone();
        let arn = self.alias_arn(&account, name);
        let Some(id) = self.alias(&account, name) else {
            return Err(KmsError::NotFound(format!("Alias {arn} is not found.")));
        };
        self.permit_account(call, &arn)?;
        let found = self.admit_change(call, &id, Needs::Nothing)?;
        let gone = Change::RemoveAlias { account, name: name.into() };
        self.commit(vec![gone], call.record(&found.arn).as_ref()).await?;
        Ok(found)
    }

    /// All aliases of the caller's account, or those of one key, by name. `aws/s3` stands there before its key exists.
    pub fn list_aliases(&self, call: &Call<'_>, key: Option<&str>) -> Result<Vec<AliasRecord>, KmsError> {
        let account = Self::own(call)?;
        self.permit_account(call, "*")?;
        let only = match key {
            Some(name) => {
                let found = self.locate_for(call, name)?;
                // Whether another account has this key is not told.
                if found.record().account != *account {
                    return Err(self.refuse_missing(call, name));
                }
                Some(found)
            }
            None => None,
        };
        let keys = self.keys.read();
        let mut list: Vec<AliasRecord> = keys
            .aliases
            .values()
            .filter(|alias| alias.account == *account)
            .filter(|alias| only.as_ref().is_none_or(|found| found.record().id == alias.key_id))
            .cloned()
            .collect();
        if only.is_none() && !list.iter().any(|alias| alias.name == S3_ALIAS) {
            let (name, account, key_id) = (S3_ALIAS.into(), account.clone(), String::new());
            list.push(AliasRecord { name, account, key_id, created: self.started, updated: self.started });
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }
}
