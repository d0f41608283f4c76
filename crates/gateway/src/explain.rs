//! What is stored about a bucket and an object, held against one question: for `tresor policy explain`. It reads the store itself, not
//! what requests keep, and joins the sides by the same functions as a request. Must never permit anything: it makes no `Permit`.

use crate::{
    acl,
    authorize::shows_tags,
    derive::{Asked, Pairs, Role, derive},
    ops::{bucket_policy::BucketPolicy, ownership_controls::Ownership},
    rules::BucketRules,
};
use tresor_envelope::SseMode;
use tresor_model::{BucketName, Caller, ObjectKey};
use tresor_policy::{
    Bindings, CallerNames, Context, Decision, Effect, Policy, Question, RequestFacts, Requester, Sources,
    decide_resource,
};
use tresor_storage::Store;

/// What somebody might ask of S3.
pub struct StoredQuestion<'a> {
    pub caller: &'a Caller,
    pub bindings: &'a Bindings,
    /// The caller's account as S3 names it.
    pub canonical_id: Option<&'a str>,
    /// `PutObject`: whose condition keys are filled.
    pub operation: &'a str,
    /// `s3:PutObject`
    pub action: &'a str,
    pub bucket: &'a BucketName,
    pub object_key: Option<&'a ObjectKey>,
    /// Names in lower case.
    pub headers: Pairs<'a>,
    /// Keys that come on top and win over what is derived.
    pub context: &'a Context,
    pub facts: RequestFacts<'a>,
}

/// A question that comes with a request: S3 asks KMS on the caller's behalf.
#[derive(Clone, Debug)]
pub struct KeyQuestion {
    /// Without `kms:`: `GenerateDataKey`.
    pub operation: &'static str,
    pub key_arn: String,
    /// The value of `aws:s3:arn` in the encryption context: the object, or the bucket where a bucket key is used.
    pub bound_to: String,
}

impl StoredQuestion<'_> {
    /// Decides by what is stored and tells about it; with the question to the KMS key that a write or a read of an object comes with.
    /// `key_arn` finds the KMS key of a write by its name, `None` for `aws/s3`.
    /// Errors: a bucket that is not there, a document that cannot be read.
    pub async fn explain<T>(
        &self,
        store: &Store,
        key_arn: impl Fn(Option<&str>) -> Option<String>,
        tell: impl FnOnce(&Question<'_>, Option<&Policy>, &Decision<'_>) -> T,
    ) -> Result<(T, Option<KeyQuestion>), String> {
        let name = self.bucket;
        let unreadable = |error: &dyn std::fmt::Display| format!("the bucket {name} cannot be read: {error}");
        let bucket = store.bucket(name).await.map_err(|error| unreadable(&error))?;
        let bucket = bucket.ok_or_else(|| format!("there is no bucket {name}"))?;
        let rules = BucketRules::read(store, &bucket).await.map_err(|error| unreadable(&error.message))?;
        let version = match self.object_key {
            Some(key) => store.version(&bucket, key, None).await.map_err(|error| unreadable(&error))?,
            None => None,
        };
        let version = version.filter(|version| !version.delete_marker);
        let tags: Vec<(String, String)> = match &version {
            Some(version) if shows_tags(self.action) => {
                version.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            }
            _ => Vec::new(),
        };
        let asked = Asked {
            operation: self.operation,
            bucket: Some(name.as_str()),
            object_key: self.object_key.map(ObjectKey::as_str),
            headers: self.headers,
            default_encryption: Some(rules.default_encryption()),
            existing_tags: &tags,
            bucket_owner: Some(bucket.owner.as_str()),
            account: self.caller.account().map(|account| account.as_str()),
            region: self.facts.region,
            now: Some(self.facts.now),
            ..Asked::default()
        };
        let key_arn = match self.action {
            "s3:PutObject" => asked.named_key().and_then(key_arn),
            _ => None,
        };
        let arn = self.object_key.map_or_else(|| name.arn(), |key| name.object_arn(key));
        let read = version.as_deref().map(|version| &version.envelope.header).filter(|_| self.action == "s3:GetObject");
        let object_kms_key = read.filter(|header| uses_kms(header.mode)).map(|header| header.key_arn.as_str());
        let asked = Asked { key_arn: key_arn.as_deref(), object_kms_key, ..asked };
        let bucket_key = match read {
            Some(header) => header.mode == SseMode::KmsBucketKey,
            None if asked.said("x-amz-server-side-encryption") == Some("aws:kms:dsse") => false,
            None => match asked.said("x-amz-server-side-encryption-bucket-key-enabled") {
                Some(said) => said.eq_ignore_ascii_case("true"),
                None => rules.encryption.bucket_key,
            },
        };
        let derived = derive(&asked);
        let key_question = derived.required.iter().find(|required| required.role == Role::Key).and_then(|required| {
            Some(KeyQuestion {
                operation: required.action.strip_prefix("kms:")?,
                key_arn: required.resource.clone(),
                bound_to: if bucket_key { name.arn() } else { arn.clone() },
            })
        });
        let mut context = derived.context;
        context.set_global(self.caller, self.bindings, &self.facts);
        context.extend(self.context);
        let names = CallerNames::of(self.caller);
        let who = Requester { canonical_id: self.canonical_id, ..names.requester(self.caller) };
        let question = Question { who, action: self.action, resource: &arn, context: &context };

        let lists = rules.ownership.in_force() != Ownership::BucketOwnerEnforced;
        let object = (lists && acl::belongs_to_object_owner(self.operation, self.action)).then_some(version);
        let caller = self.caller.account();
        let owner = match object.as_ref().and_then(Option::as_ref) {
            Some(version) => &version.owner,
            None if acl::belongs_to_writer(self.operation, self.action) => caller.unwrap_or(&bucket.owner),
            None => &bucket.owner,
        };
        let sources = rules.sources(&bucket, owner, caller, self.bindings.sources());
        let mut decision = decide_resource(&question, &sources);
        if lists && decision.effect == Effect::ImplicitDeny {
            let granted = rules.granted(self.operation, self.action, caller, object.as_ref());
            decision = decide_resource(&question, &Sources { granted, ..sources });
        }
        Ok((tell(&question, rules.policy.as_ref().map(BucketPolicy::policy), &decision), key_question))
    }
}

fn uses_kms(mode: SseMode) -> bool {
    match mode {
        SseMode::Kms | SseMode::KmsBucketKey | SseMode::Dsse => true,
        SseMode::S3 | SseMode::Customer => false,
    }
}
