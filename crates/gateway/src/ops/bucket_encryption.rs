//! GetBucketEncryption, PutBucketEncryption, DeleteBucketEncryption.

use super::bucket::Named;
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    sse::configuration::{DOCUMENT, Encryption},
    table,
};
use tresor_front::{Response, ResponseBody};

pub(crate) struct GetBucketEncryption;
pub(crate) struct PutBucketEncryption;
pub(crate) struct DeleteBucketEncryption;

/// The longest configuration, in bytes.
const MAX_CONFIGURATION: usize = 16 * 1024;

impl Operation for GetBucketEncryption {
    const NAME: &'static str = "GetBucketEncryption";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = Encryption;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<Encryption, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        Encryption::of(cx.gateway, &bucket).await
    }
    fn respond(encryption: Encryption) -> Response {
        encryption.to_xml().respond()
    }
}

impl Operation for PutBucketEncryption {
    const NAME: &'static str = "PutBucketEncryption";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_CONFIGURATION };
    type Input = (Named, Encryption);
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let encryption = Encryption::from_xml(fields.document())?;
        Ok((Named::parse(fields)?, encryption))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<(), S3Error> {
        let ((_, encryption), bucket, _) = permit.into_parts()?;
        cx.put_document(&bucket, DOCUMENT, encryption.to_bytes()).await
    }
    fn respond((): ()) -> Response {
        Response::new(ResponseBody::Empty)
    }
}

impl Operation for DeleteBucketEncryption {
    const NAME: &'static str = "DeleteBucketEncryption";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<(), S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        cx.delete_document(&bucket, DOCUMENT).await
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}
