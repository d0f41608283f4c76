//! DeleteObjects: an answer for every key.

use super::bucket::Named;
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::{Fields, parse_version_id},
    operation::{BodyKind, Operation},
    serve::{RequestContext, WhollyRefused},
    xml::{Element, XmlWriter},
};
use futures_util::{StreamExt, stream};
use tresor_front::Response;
use tresor_model::{ObjectKey, VersionId};
use tresor_storage::{Bucket, EtagMatch, StoreError};

pub(crate) struct DeleteObjects;

/// S3's most keys of one request.
const MAX_KEYS: usize = 1000;
/// A thousand keys of 1,024 bytes, escaped, with their elements.
const MAX_DOCUMENT: usize = 8 << 20;
/// Deletes at the same time; they share commits.
const TOGETHER: usize = 64;

pub(crate) struct Input {
    named: Named,
    quiet: bool,
    objects: Vec<Object>,
}

struct Object {
    key: ObjectKey,
    version: Option<String>,
    /// As it was written.
    if_match: Option<String>,
}

pub(crate) struct Output {
    quiet: bool,
    outcomes: Vec<(Object, Result<Option<VersionId>, S3Error>)>,
}

fn object(element: &Element) -> Result<Object, S3Error> {
    element.expect_only(&["Key", "VersionId", "ETag", "LastModifiedTime", "Size"])?;
    for conditional in ["LastModifiedTime", "Size"] {
        if element.at_most_one(conditional)?.is_some() {
            // AWS has these for directory buckets only.
            return Err(S3Error::header_not_implemented(conditional));
        }
    }
    let key = element.text_of("Key")?;
    let if_match = element.optional_text_of("ETag")?.map(str::to_owned);
    Ok(Object {
        key: key
            .parse()
            .map_err(|_| if key.is_empty() { S3Error::malformed_xml() } else { S3Error::key_too_long(key.len()) })?,
        version: element.optional_text_of("VersionId")?.filter(|id| !id.is_empty()).map(str::to_owned),
        if_match,
    })
}

impl Operation for DeleteObjects {
    const NAME: &'static str = "DeleteObjects";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_DOCUMENT };
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        if !fields.document_has_digest() {
            return Err(S3Error::invalid_request("Missing required header for this request: Content-MD5"));
        }
        let root = Element::parse(fields.document(), "Delete")?;
        root.expect_only(&["Object", "Quiet"])?;
        let objects = root.all("Object").map(object).collect::<Result<Vec<_>, _>>()?;
        if objects.is_empty() || objects.len() > MAX_KEYS {
            return Err(S3Error::malformed_xml());
        }
        let quiet = root.optional_text_of("Quiet")?.is_some_and(|quiet| quiet.eq_ignore_ascii_case("true"));
        Ok(Input { named: Named::parse(fields)?, quiet, objects })
    }

    fn access(input: &Input) -> Access {
        Access::item_by_item(input.named.bucket.clone(), input.named.expected_owner.clone())
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (Input { quiet, objects, .. }, bucket, _) = permit.into_parts()?;
        let deletes = objects.into_iter().map(|object| {
            let bucket = &bucket;
            async move {
                let outcome = delete(cx, bucket, &object).await;
                (object, outcome)
            }
        });
        Ok(Output { quiet, outcomes: stream::iter(deletes).buffered(TOGETHER).collect().await })
    }

    fn respond(Output { quiet, outcomes }: Output) -> Response {
        let mut xml = XmlWriter::document("DeleteResult");
        for (object, outcome) in &outcomes {
            match outcome {
                Ok(_) if quiet => {}
                Ok(version) => xml.within("Deleted", |xml| {
                    xml.text("Key", object.key.as_str());
                    xml.optional("VersionId", version.map(|version| version.to_string()).as_deref());
                }),
                Err(error) => xml.within("Error", |xml| {
                    xml.text("Key", object.key.as_str());
                    xml.optional("VersionId", object.version.as_deref());
                    xml.text("Code", error.code);
                    xml.text("Message", &error.message);
                }),
            }
        }
        let mut response = xml.respond();
        // A request that could do nothing at all is told apart from one that did something.
        let denied = |error: &S3Error| error.code == S3Error::access_denied().code;
        if outcomes.iter().all(|(_, outcome)| outcome.as_ref().is_err_and(denied)) {
            response.extensions_mut().insert(WhollyRefused);
        }
        response
    }
}

async fn delete(cx: &RequestContext<'_>, bucket: &Bucket, object: &Object) -> Result<Option<VersionId>, S3Error> {
    let version = object.version.as_deref().map(parse_version_id).transpose()?;
    let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
    let (named, if_match) = (object.version.as_deref(), object.if_match.as_deref());
    cx.permit_item(action, bucket, &object.key, named, if_match).await?;
    if if_match.is_some_and(|tag| tag != "*") {
        // Whoever deletes what has an ETag learns whether it has.
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        cx.permit_item(action, bucket, &object.key, named, if_match).await?;
    }
    let if_match = if_match.map(|tag| match tag {
        "*" => EtagMatch::Any,
        tag => tag.parse().map_or(EtagMatch::Never, EtagMatch::Tag),
    });
    let deleted = cx.store.delete_object(bucket, &object.key, version.as_ref(), if_match).await;
    match deleted {
        Ok(deleted) => Ok(deleted.version_id),
        Err(StoreError::PreconditionFailed) => Err(S3Error::precondition_failed("If-Match")),
        Err(error) => Err(error.into()),
    }
}
