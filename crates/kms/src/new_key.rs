//! Keys that are made: on a call, by the configuration, and `aws/s3` on its first use; with the policies of those that bring none.

use crate::{
    error::KmsError,
    key::{AliasRecord, KeyManager, KeyRecord, KeyState, Origin, Rotation},
    ring::{DAY_MS, KeyRing, YEAR_DAYS},
    spec::{KeySpec, KeyUsage},
    traits::Change,
};
use tresor_model::AccountId;

/// Keys of one account: AWS's quota is 100,000.
const MAX_KEYS: usize = 100_000;
pub(crate) const S3_ALIAS: &str = "alias/aws/s3";
const S3_DESCRIPTION: &str = "Default key that protects my S3 objects when no other key is defined";

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Chosen by the configuration; drawn otherwise.
    pub id: Option<String>,
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub policy: Option<String>,
    pub tags: Vec<(String, String)>,
}

impl KeyRing {
    pub(crate) async fn create_s3_key(&self, account: &AccountId) -> Result<String, KmsError> {
        let _turn = self.turn().await;
        if let Some(id) = self.alias(account, S3_ALIAS) {
            return Ok(id);
        }
        let new = NewKey { description: S3_DESCRIPTION.into(), ..NewKey::default() };
        let mut key = self.new_record(account, new, KeyManager::Aws).await?;
        let next = key.created.plus_millis(u64::from(YEAR_DAYS) * DAY_MS);
        key.rotation = Some(Rotation { period_days: YEAR_DAYS, next });
        let alias = AliasRecord {
            name: S3_ALIAS.into(),
            account: account.clone(),
            key_id: key.id.clone(),
            created: key.created,
            updated: key.created,
        };
        let id = key.id.clone();
        let record = self.service_record("CreateKey", account, &id)?;
        self.commit_by_itself(vec![Change::PutKey(key), Change::PutAlias(alias)], record).await?;
        Ok(id)
    }

    /// A record with fresh material, not stored yet. The caller has its turn.
    pub(crate) async fn new_record(
        &self,
        account: &AccountId,
        new: NewKey,
        manager: KeyManager,
    ) -> Result<KeyRecord, KmsError> {
        if self.keys.read().keys.keys().filter(|(owner, _)| owner == account).count() >= MAX_KEYS {
            return Err(KmsError::LimitExceeded(format!(
                "The account {account} has its limit of {MAX_KEYS} KMS keys."
            )));
        }
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let id = new.id.unwrap_or_else(|| uuid::Builder::from_random_bytes(random).into_uuid().to_string());
        self.arn(account, &id)?;
        let now = self.clock.now();
        let materials = match new.origin {
            Origin::AwsKms => vec![self.backend.generate(&id, new.spec, now).await?],
            Origin::External => Vec::new(),
        };
        Ok(KeyRecord {
            id,
            account: account.clone(),
            description: new.description,
            manager,
            set_state: KeyState::Enabled,
            created: now,
            materials,
            spec: new.spec,
            usage: new.usage,
            origin: new.origin,
            deletion: None,
            tags: new.tags,
            policy: new.policy,
            rotation: None,
        })
    }

    /// Makes sure that a key of the configuration exists; its material is made once and kept.
    /// Errors: Validation for an id that another account's key has, because both would hang on one erasure secret.
    pub async fn declare(&self, account: &AccountId, id: &str, alias: Option<&str>) -> Result<(), KmsError> {
        let _turn = self.turn().await;
        if self.find(account, id).is_none() {
            if let Some((owner, _)) = self.keys.read().keys.keys().find(|(_, known)| known == id) {
                return Err(KmsError::Validation(format!("the KMS key id {id} is taken by the account {owner}")));
            }
            let new = NewKey { id: Some(id.to_owned()), ..NewKey::default() };
            let key = self.new_record(account, new, KeyManager::Customer).await?;
            let record = self.service_record("CreateKey", account, id)?;
            self.commit_by_itself(vec![Change::PutKey(key)], record).await?;
        }
        match alias {
            Some(alias) if self.alias(account, alias).as_deref() != Some(id) => {
                crate::aliases::check_name(alias)?;
                let now = self.clock.now();
                let (account, key_id) = (account.clone(), id.to_owned());
                let alias = AliasRecord { name: alias.into(), account, key_id, created: now, updated: now };
                let record = self.service_record("CreateAlias", &alias.account, id)?;
                self.commit_by_itself(vec![Change::PutAlias(alias)], record).await
            }
            _ => Ok(()),
        }
    }
}

/// The policy text in force.
pub(crate) fn policy_text(record: &KeyRecord, region: &str) -> String {
    match (&record.policy, record.manager) {
        (Some(text), _) => text.clone(),
        (None, KeyManager::Customer) => default_policy(&record.account),
        (None, KeyManager::Aws) => s3_policy(&record.account, region),
    }
}

/// The policy of a key that was made without one. Source: the developer guide, "Default key policy"; its Id as recorded from AWS.
pub fn default_policy(account: &AccountId) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account}:root"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#
    )
}

/// The policy of `aws/s3`: everyone of the account through S3, and the account itself may look at it.
fn s3_policy(account: &AccountId, region: &str) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "auto-s3-2",
  "Statement" : [ {{
    "Sid" : "Allow access through S3 for all principals in the account that are authorized to use S3",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "*"
    }},
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {{
      "StringEquals" : {{
        "kms:CallerAccount" : "{account}",
        "kms:ViaService" : "s3.{region}.amazonaws.com"
      }}
    }}
  }}, {{
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "arn:aws:iam::{account}:root"
    }},
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*" ],
    "Resource" : "*"
  }} ]
}}"#
    )
}
