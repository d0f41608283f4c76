//! The one place where an S3 request is permitted: what it needs is held against the caller's own policies, the bucket's policy, its
//! public access block, and the lists of the bucket and the object. A `Permit` is made here and nowhere else. How policies are joined stands in `tresor_policy`; which
//! condition keys a request fills in `derive`.

use crate::{
    acl,
    derive::{Asked, Pairs, Role, Signed, derive},
    error::S3Error,
    ops::{bucket_policy::BucketPolicy, multipart, ownership_controls::Ownership},
    rules::BucketRules,
    serve::RequestContext,
};
use std::sync::Arc;
use tresor_front::{SigVersion, Via};
use tresor_model::{AccountId, BucketName, ObjectKey, TagSet, VersionId};
use tresor_policy::{
    Context, Decision, Effect, Policy, Question, Reach, Reason, RequestFacts, Requester, Sources, decide_identity,
    decide_resource,
};
use tresor_storage::{Bucket, StoreError, Version};

/// One thing that the caller must be allowed to do.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    /// The IAM action: `s3:PutObject`. `None`: the operation asks for itself, item by item.
    pub action: Option<&'static str>,
    pub resource: Resource,
    /// `x-amz-expected-bucket-owner`: the request fails unless this account owns the bucket.
    pub expected_owner: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The caller's own account: ListBuckets.
    Account,
    /// A bucket that does not exist yet.
    NewBucket(BucketName),
    Bucket(BucketName),
    Object(BucketName, ObjectKey),
}

impl Resource {
    /// As a policy names it.
    fn arn(&self) -> String {
        match self {
            Self::Account => "*".to_owned(),
            Self::NewBucket(bucket) | Self::Bucket(bucket) => bucket.arn(),
            Self::Object(bucket, key) => bucket.object_arn(key),
        }
    }
    fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Account => (None, None),
            Self::NewBucket(bucket) | Self::Bucket(bucket) => (Some(bucket.as_str()), None),
            Self::Object(bucket, key) => (Some(bucket.as_str()), Some(key.as_str())),
        }
    }
}

/// All of these must be permitted. The first names the bucket the request addresses, the second a copy's source.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    needs: Vec<Requirement>,
    said: InDocument,
}

/// What condition keys need that only the operation's own document says.
#[derive(Clone, Debug, Default)]
struct InDocument {
    tags: Option<Vec<(String, String)>>,
    location: Option<String>,
    /// The ETag that an item of DeleteObjects must have.
    if_match: Option<String>,
    /// The upload a part belongs to, as it was named.
    upload: Option<String>,
}

impl Access {
    pub(crate) fn one(action: &'static str, resource: Resource, expected_owner: Option<String>) -> Self {
        let need = Requirement { action: Some(action), resource, expected_owner };
        Self { needs: vec![need], said: InDocument::default() }
    }
    /// The operation asks for each item it works on; here it only names the bucket.
    pub(crate) fn item_by_item(bucket: BucketName, expected_owner: Option<String>) -> Self {
        let need = Requirement { action: None, resource: Resource::Bucket(bucket), expected_owner };
        Self { needs: vec![need], said: InDocument::default() }
    }
    pub(crate) fn and(mut self, action: &'static str, resource: Resource, expected_owner: Option<String>) -> Self {
        self.needs.push(Requirement { action: Some(action), resource, expected_owner });
        self
    }
    /// With the tags that the document gives an object.
    pub(crate) fn with_tags(mut self, tags: &TagSet) -> Self {
        self.said.tags = Some(pairs(tags));
        self
    }
    /// With the region that the document asks a bucket to be made in.
    pub(crate) fn with_location(mut self, location: Option<&str>) -> Self {
        self.said.location = location.map(str::to_owned);
        self
    }
    /// A part of this upload, or all of them: judged with what the upload was created with.
    pub(crate) fn of_upload(mut self, upload: &str) -> Self {
        self.said.upload = Some(upload.to_owned());
        self
    }
}

/// An input that its caller may run, with the buckets it names.
pub(crate) struct Permit<T> {
    input: T,
    buckets: Vec<Option<Bucket>>,
}

impl<T> Permit<T> {
    /// The input, the addressed bucket, and the bucket of the second requirement if it named another resource.
    pub(crate) fn into_parts(self) -> Result<(T, Bucket, Option<Bucket>), S3Error> {
        let mut buckets = self.buckets.into_iter();
        let first = buckets.next().flatten().ok_or_else(S3Error::internal)?;
        Ok((self.input, first, buckets.next().flatten()))
    }
    /// The input of an operation that addresses no existing bucket.
    pub(crate) fn into_input(self) -> T {
        self.input
    }
}

/// Judges every requirement. Errors: NoSuchBucket, AccessDenied.
pub(crate) async fn authorize<T>(cx: &RequestContext<'_>, access: Access, input: T) -> Result<Permit<T>, S3Error> {
    #[cfg(debug_assertions)]
    assert_whole(cx, &access);
    let mut buckets: Vec<Option<Bucket>> = Vec::with_capacity(access.needs.len());
    for need in &access.needs {
        let bucket = match &need.resource {
            Resource::Account | Resource::NewBucket(_) => None,
            Resource::Bucket(name) | Resource::Object(name, _) => {
                match buckets.iter().flatten().find(|known| known.name == *name) {
                    Some(known) => Some(known.clone()),
                    None => Some(cx.gateway.store.bucket(name).await?.ok_or_else(|| S3Error::no_such_bucket(name))?),
                }
            }
        };
        if let (Some(bucket), Some(expected)) = (&bucket, &need.expected_owner)
            && expected != bucket.owner.as_str()
        {
            return Err(S3Error::access_denied());
        }
        if let Some(action) = need.action {
            let of_source = cx.operation.contains("Copy") && action.starts_with("s3:Get");
            let asking = Asking {
                operation: cx.operation,
                action,
                resource: &need.resource,
                bucket: bucket.as_ref(),
                role: if of_source { Role::Source } else { Role::Target },
                version: None,
                said: &access.said,
            };
            asking.permit(cx).await?;
        }
        buckets.push(bucket);
    }
    Ok(Permit { input, buckets })
}

impl RequestContext<'_> {
    /// Asks for something more than the operation as a whole needs: one key of many, or the right to know that nothing is there.
    /// `version` names the version concerned. Errors: AccessDenied.
    pub(crate) async fn permit(
        &self,
        operation: &'static str,
        action: &'static str,
        bucket: &Bucket,
        key: Option<&ObjectKey>,
        version: Option<&str>,
    ) -> Result<(), S3Error> {
        let resource = match key {
            Some(key) => Resource::Object(bucket.name.clone(), key.clone()),
            None => Resource::Bucket(bucket.name.clone()),
        };
        let said = InDocument::default();
        let (bucket, role) = (Some(bucket), Role::Target);
        Asking { operation, action, resource: &resource, bucket, role, version, said: &said }.permit(self).await
    }

    /// One item of DeleteObjects, held to its own `if_match`. Errors: AccessDenied.
    pub(crate) async fn permit_item(
        &self,
        action: &'static str,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&str>,
        if_match: Option<&str>,
    ) -> Result<(), S3Error> {
        let resource = Resource::Object(bucket.name.clone(), key.clone());
        let said = InDocument { if_match: if_match.map(str::to_owned), ..InDocument::default() };
        let (operation, bucket, role) = ("DeleteObjects", Some(bucket), Role::Target);
        Asking { operation, action, resource: &resource, bucket, role, version, said: &said }.permit(self).await
    }

    /// Tags that a copy gives its target. Errors: AccessDenied.
    pub(crate) async fn permit_tags(&self, bucket: &Bucket, key: &ObjectKey, tags: &TagSet) -> Result<(), S3Error> {
        let resource = Resource::Object(bucket.name.clone(), key.clone());
        let said = InDocument { tags: Some(pairs(tags)), ..InDocument::default() };
        let (operation, action) = (self.operation, "s3:PutObjectTagging");
        let (bucket, role, version) = (Some(bucket), Role::Target, None);
        Asking { operation, action, resource: &resource, bucket, role, version, said: &said }.permit(self).await
    }
}

/// One question.
struct Asking<'a> {
    /// Whose condition keys are filled.
    operation: &'static str,
    action: &'static str,
    resource: &'a Resource,
    /// The bucket the resource is, or is in, if it exists.
    bucket: Option<&'a Bucket>,
    role: Role,
    /// A version that the query does not name.
    version: Option<&'a str>,
    said: &'a InDocument,
}

impl Asking<'_> {
    async fn permit(&self, cx: &RequestContext<'_>) -> Result<(), S3Error> {
        let rules = match self.bucket {
            Some(bucket) => Some(cx.gateway.rules(bucket).await?),
            None => None,
        };
        let policy = rules.as_deref().and_then(|rules| rules.policy.as_ref()).map(BucketPolicy::policy);
        let consulted = || cx.bindings.policies().chain(policy);
        let context = if consulted().any(Policy::asks_context) {
            let tags = consulted().any(Policy::asks_object_tags);
            // Boxed, as other things that few requests need: their room would be carried by every request.
            Box::pin(self.context(cx, rules.as_deref(), tags)).await?
        } else {
            Context::default()
        };
        let arn = self.resource.arn();
        let canonical = cx.caller.account().and_then(|account| cx.gateway.directory.account(account));
        let who = Requester {
            canonical_id: canonical.map(|account| account.canonical_id.as_str()),
            ..cx.names.requester(cx.caller)
        };
        let question = Question { who, action: self.action, resource: &arn, context: &context };
        let (Some(bucket), Some(rules)) = (self.bucket, rules.as_deref()) else {
            let decision = decide_identity(&question, &cx.bindings.sources());
            self.trace(&arn, &decision);
            return if decision.allowed() { Ok(()) } else { Err(self.refused(cx, &arn, &decision, None)) };
        };
        let lists = rules.ownership.in_force() != Ownership::BucketOwnerEnforced;
        let object = match lists && acl::belongs_to_object_owner(self.operation, self.action) {
            true => Some(self.object(cx).await?.filter(|version| !version.delete_marker)),
            false => None,
        };
        let owner = match object.as_ref().and_then(Option::as_ref) {
            Some(version) => &version.owner,
            None if acl::belongs_to_writer(self.operation, self.action) => cx.caller.account().unwrap_or(&bucket.owner),
            None => &bucket.owner,
        };
        let sources = rules.sources(bucket, owner, cx.caller.account(), cx.bindings.sources());
        let mut decision = decide_resource(&question, &sources);
        let granted = match decision.effect {
            Effect::ImplicitDeny if self.is_about_an_upload() => {
                Box::pin(self.granted_to_initiator(cx, bucket)).await?
            }
            Effect::ImplicitDeny if lists => {
                rules.granted(self.operation, self.action, cx.caller.account(), object.as_ref())
            }
            Effect::Allow | Effect::ExplicitDeny | Effect::ImplicitDeny => None,
        };
        if let Some(granted) = granted {
            decision = decide_resource(&question, &Sources { granted: Some(granted), ..sources });
            // The list was the bucket's, and lets him know that nothing is there. No list of an object let him in.
            if decision.reason == Reason::Granted && matches!(object, Some(None)) {
                return Err(self.nothing_there(cx));
            }
        }
        self.trace(&arn, &decision);
        if decision.allowed() { Ok(()) } else { Err(self.refused(cx, &arn, &decision, Some(owner))) }
    }

    fn trace(&self, arn: &str, decision: &Decision<'_>) {
        tracing::debug!(action = self.action, resource = arn, reason = ?decision.reason, statement = ?decision.statement, "authorize");
    }

    fn is_about_an_upload(&self) -> bool {
        matches!(self.action, "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts")
    }

    /// Whoever began an upload may list its parts and abort it. Source: S3 user guide, "Multipart upload API operations and permissions".
    async fn granted_to_initiator(&self, cx: &RequestContext<'_>, bucket: &Bucket) -> Result<Option<Reach>, S3Error> {
        let Resource::Object(_, key) = self.resource else { return Ok(None) };
        let Some(id) = cx.said.parameter("uploadId").and_then(|id| id.parse().ok()) else { return Ok(None) };
        match cx.gateway.store.upload(bucket, key, &id).await {
            Ok(upload) => Ok((cx.caller.account() == Some(&upload.owner)).then_some(Reach::Account)),
            Err(StoreError::NoSuchUpload) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn nothing_there(&self, cx: &RequestContext<'_>) -> S3Error {
        match (self.resource, self.version(cx)) {
            (Resource::Object(_, key), Some(version)) => S3Error::no_such_version(key, &version),
            (Resource::Object(_, key), None) => S3Error::no_such_key(key),
            (Resource::Account | Resource::NewBucket(_) | Resource::Bucket(_), _) => S3Error::access_denied(),
        }
    }

    /// AWS's words. Callers of the account that owns the bucket and the object learn which kind of policy refused them, others nothing.
    fn refused(
        &self,
        cx: &RequestContext<'_>,
        arn: &str,
        decision: &Decision<'_>,
        owner: Option<&AccountId>,
    ) -> S3Error {
        let mut owners = owner.into_iter().chain(self.bucket.map(|bucket| &bucket.owner));
        let at_home = owners.all(|owner| cx.caller.account() == Some(owner));
        let Some(who) = cx.caller.principal.arn().filter(|_| at_home) else { return S3Error::access_denied() };
        let (action, because) = (self.action, decision.because(self.action));
        S3Error::forbidden(match self.resource {
            Resource::Account => format!("User: {who} is not authorized to perform: {action} {because}"),
            _ => format!("User: {who} is not authorized to perform: {action} on resource: \"{arn}\" {because}"),
        })
    }

    /// The condition keys, gathered only when a policy that is consulted asks for any.
    async fn context(
        &self,
        cx: &RequestContext<'_>,
        rules: Option<&BucketRules>,
        asks_tags: bool,
    ) -> Result<Context, S3Error> {
        let (headers, mut query) = (cx.said.headers(), cx.said.query());
        if let Some(version) = self.version {
            query.push(("versionId".to_owned(), version.to_owned()));
        }
        let upload = match (&self.said.upload, self.bucket, self.resource) {
            (Some(id), Some(bucket), Resource::Object(_, key)) => match id.parse() {
                Ok(id) => match cx.gateway.store.upload(bucket, key, &id).await {
                    Ok(upload) => Some(multipart::said(&upload)),
                    // Whoever may write there is told that there is no such upload.
                    Err(StoreError::NoSuchUpload) => None,
                    Err(error) => return Err(error.into()),
                },
                Err(_) => None,
            },
            _ => None,
        };
        let tags = if asks_tags && shows_tags(self.action) { self.object_tags(cx).await? } else { Vec::new() };
        let default = rules.map(BucketRules::default_encryption);
        let key_arn = match self.operation {
            "PutObject" | "PostObject" | "CopyObject" | "CreateMultipartUpload" => {
                effective_key(cx, &headers, &query, default).await
            }
            _ => None,
        };
        let (bucket, object_key) = self.resource.names();
        let none: Pairs<'_> = &[];
        let (existing_tags, source_tags) = match self.role {
            Role::Source => (none, tags.as_slice()),
            Role::Target | Role::Key | Role::SourceKey => (tags.as_slice(), none),
        };
        let derived = derive(&Asked {
            operation: self.operation,
            bucket,
            object_key,
            upload: upload.as_deref(),
            default_encryption: default,
            key_arn: key_arn.as_deref(),
            existing_tags,
            source_tags,
            document_tags: self.said.tags.as_deref(),
            location: self.said.location.as_deref(),
            document_if_match: self.said.if_match.as_deref(),
            bucket_owner: self.bucket.map(|bucket| bucket.owner.as_str()),
            ..base(cx, &headers, &query)
        });
        let mut context = match self.role {
            Role::Source => derived.source,
            Role::Target | Role::Key | Role::SourceKey => derived.context,
        };
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let facts = RequestFacts {
            now: cx.gateway.clock.now(),
            region: &cx.gateway.settings.region,
            via: None,
            user_agent: header("user-agent"),
            referer: header("referer"),
        };
        context.set_global(cx.caller, &cx.bindings, &facts);
        Ok(context)
    }

    /// The version that is asked about, as it was named.
    fn version(&self, cx: &RequestContext<'_>) -> Option<String> {
        match self.role {
            Role::Source => {
                let (headers, query) = (cx.said.headers(), cx.said.query());
                base(cx, &headers, &query).copy_source().and_then(|(_, _, version)| version)
            }
            Role::Target | Role::Key | Role::SourceKey => {
                self.version.or(cx.said.parameter("versionId")).map(str::to_owned)
            }
        }
    }

    /// The object that is asked for, if there is one: looked up once for all questions and for the operation.
    async fn object(&self, cx: &RequestContext<'_>) -> Result<Option<Arc<Version>>, S3Error> {
        let (Some(bucket), Resource::Object(_, key)) = (self.bucket, self.resource) else { return Ok(None) };
        let version: Option<VersionId> = self.version(cx).and_then(|id| id.parse().ok());
        if let Some(known) = cx.judged.get(bucket, key, version.as_ref()) {
            return Ok(known);
        }
        let found = cx.gateway.store.version(bucket, key, version.as_ref()).await?;
        cx.judged.keep(bucket, key, version.as_ref(), found.clone());
        Ok(found)
    }

    /// Tags of the object that is asked for; none when there is no object.
    async fn object_tags(&self, cx: &RequestContext<'_>) -> Result<Vec<(String, String)>, S3Error> {
        let Some(found) = self.object(cx).await? else { return Ok(Vec::new()) };
        Ok(pairs(&found.tags))
    }
}

fn pairs(tags: &TagSet) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What every question of a request has in common.
fn base<'a>(cx: &'a RequestContext<'_>, headers: Pairs<'a>, query: Pairs<'a>) -> Asked<'a> {
    Asked {
        headers,
        query,
        form: cx.said.form(),
        account: cx.caller.account().map(|account| account.as_str()),
        region: &cx.gateway.settings.region,
        signed: Some(match cx.auth.via {
            Via::Nothing => Signed::Nobody,
            Via::Header => Signed::Header,
            Via::Query => Signed::Query,
            Via::Form => Signed::Form,
        }),
        signature_version: match cx.auth.version {
            SigVersion::None => None,
            SigVersion::V2 => Some("AWS"),
            SigVersion::V4 => Some("AWS4-HMAC-SHA256"),
        },
        tls_version: cx.tls_version,
        now: Some(cx.gateway.clock.now()),
        ..Asked::default()
    }
}

/// What a request to create an upload says that its parts will be asked about and that the upload keeps nowhere else.
pub(crate) fn said_of_upload(cx: &RequestContext<'_>) -> Vec<(String, String)> {
    const KEPT: [&str; 7] = [
        "x-amz-server-side-encryption",
        "x-amz-acl",
        "x-amz-grant-read",
        "x-amz-grant-write",
        "x-amz-grant-read-acp",
        "x-amz-grant-write-acp",
        "x-amz-grant-full-control",
    ];
    let (headers, query) = (cx.said.headers(), cx.said.query());
    let asked = base(cx, &headers, &query);
    KEPT.iter().filter_map(|name| Some(((*name).to_owned(), asked.said(name)?.to_owned()))).collect()
}

/// The ARN of the KMS key that a write will use, as `resolve` will find it; a key that cannot be found is the write's own failure.
async fn effective_key(
    cx: &RequestContext<'_>,
    headers: Pairs<'_>,
    query: Pairs<'_>,
    default: Option<(&str, Option<&str>)>,
) -> Option<String> {
    let asked = Asked { default_encryption: default, ..base(cx, headers, query) };
    let name = asked.named_key()?;
    cx.gateway.keys.resolve(cx.caller, name).await.ok().map(|arn| arn.to_string())
}

/// Actions for which S3 fills `s3:ExistingObjectTag`. Source: service authorization reference, S3.
pub(crate) fn shows_tags(action: &str) -> bool {
    action.starts_with("s3:GetObject")
        || matches!(
            action,
            "s3:PutObjectAcl"
                | "s3:PutObjectVersionAcl"
                | "s3:PutObjectTagging"
                | "s3:PutObjectVersionTagging"
                | "s3:DeleteObjectTagging"
                | "s3:DeleteObjectVersionTagging"
                | "s3:RestoreObject"
        )
}

/// What an operation asks for and what `derive` says it needs are the same: the tests run every operation through this.
#[cfg(debug_assertions)]
fn assert_whole(cx: &RequestContext<'_>, access: &Access) {
    let asked: Vec<&str> = access.needs.iter().filter_map(|need| need.action).collect();
    if asked.is_empty() {
        return;
    }
    let (headers, query) = (cx.said.headers(), cx.said.query());
    let (bucket, object_key) = access.needs.first().map(|need| need.resource.names()).unwrap_or_default();
    let derived = derive(&Asked {
        operation: cx.operation,
        bucket,
        object_key,
        document_tags: access.said.tags.as_deref(),
        ..base(cx, &headers, &query)
    });
    let mut needed: Vec<&str> = derived.required.iter().map(|r| r.action).filter(|a| a.starts_with("s3:")).collect();
    let mut asked = asked;
    asked.sort_unstable();
    needed.sort_unstable();
    assert_eq!(asked, needed, "{} asks for other permissions than it needs", cx.operation);
}
