//! GetPublicAccessBlock, PutPublicAccessBlock, DeletePublicAccessBlock and their document. Source: S3 user guide, "Blocking public
//! access to your Amazon S3 storage".

use super::{bucket::Named, sub_resource::SubResource};
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    table,
    xml::{Element, XmlWriter},
};
use tresor_front::{Response, ResponseBody};

pub(crate) struct GetPublicAccessBlock;
pub(crate) struct PutPublicAccessBlock;
pub(crate) struct DeletePublicAccessBlock;

/// The bucket document's kind in the store.
pub(crate) const DOCUMENT: &str = "public-access-block";
/// The longest configuration, in bytes.
const MAX_CONFIGURATION: usize = 16 * 1024;

/// The four switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct PublicAccessBlock {
    /// Public lists are refused when they are put.
    #[n(0)]
    pub block_public_acls: bool,
    /// Public grants of lists do not count.
    #[n(1)]
    pub ignore_public_acls: bool,
    /// Public policies are refused when they are put.
    #[n(2)]
    pub block_public_policy: bool,
    /// A public policy lets nobody in but the bucket's own account.
    #[n(3)]
    pub restrict_public_buckets: bool,
}

pub(crate) type Stored = super::sub_resource::Stored<PublicAccessBlock>;

impl PublicAccessBlock {
    pub(crate) const ALL: Self = Self {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    };
}

impl SubResource for PublicAccessBlock {
    const DOCUMENT: &'static str = DOCUMENT;
    const NEW: Self = Self::ALL;
    const WITHOUT: Self = Self {
        block_public_acls: false,
        ignore_public_acls: false,
        block_public_policy: false,
        restrict_public_buckets: false,
    };
}

/// Reads `PublicAccessBlockConfiguration`; a switch that is not named is off. Errors: MalformedXML.
fn from_xml(document: &[u8]) -> Result<PublicAccessBlock, S3Error> {
    let root = Element::parse(document, "PublicAccessBlockConfiguration")?;
    root.expect_only(&["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"])?;
    let switch = |name: &str| match root.optional_text_of(name)? {
        None => Ok(false),
        Some(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(S3Error::malformed_xml()),
    };
    Ok(PublicAccessBlock {
        block_public_acls: switch("BlockPublicAcls")?,
        ignore_public_acls: switch("IgnorePublicAcls")?,
        block_public_policy: switch("BlockPublicPolicy")?,
        restrict_public_buckets: switch("RestrictPublicBuckets")?,
    })
}

impl Operation for GetPublicAccessBlock {
    const NAME: &'static str = "GetPublicAccessBlock";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = PublicAccessBlock;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<PublicAccessBlock, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        match cx.gateway.rules(&bucket).await?.public_access {
            Stored::Set(block) => Ok(block),
            Stored::Removed => Err(S3Error::no_such_document(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            )
            .with("BucketName", bucket.name.as_str())),
        }
    }
    fn respond(block: PublicAccessBlock) -> Response {
        let mut xml = XmlWriter::document("PublicAccessBlockConfiguration");
        for (name, on) in [
            ("BlockPublicAcls", block.block_public_acls),
            ("IgnorePublicAcls", block.ignore_public_acls),
            ("BlockPublicPolicy", block.block_public_policy),
            ("RestrictPublicBuckets", block.restrict_public_buckets),
        ] {
            xml.text(name, if on { "true" } else { "false" });
        }
        xml.respond()
    }
}

impl Operation for PutPublicAccessBlock {
    const NAME: &'static str = "PutPublicAccessBlock";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_CONFIGURATION };
    type Input = (Named, PublicAccessBlock);
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let block = from_xml(fields.document())?;
        Ok((Named::parse(fields)?, block))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<(), S3Error> {
        let ((_, block), bucket, _) = permit.into_parts()?;
        cx.put_document(&bucket, DOCUMENT, Stored::Set(block).to_bytes()).await
    }
    fn respond((): ()) -> Response {
        Response::new(ResponseBody::Empty)
    }
}

impl Operation for DeletePublicAccessBlock {
    const NAME: &'static str = "DeletePublicAccessBlock";
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
        cx.put_document(&bucket, DOCUMENT, Stored::Removed.to_bytes()).await
    }
    fn respond((): ()) -> Response {
        no_content()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_that_are_not_named_are_off() {
        let read = |inside: &str| {
            let text = format!("<PublicAccessBlockConfiguration>{inside}</PublicAccessBlockConfiguration>");
            from_xml(text.as_bytes()).map_err(|error| error.code)
        };
        assert_eq!(read(""), Ok(PublicAccessBlock::default()));
        let one = PublicAccessBlock { block_public_policy: true, ..PublicAccessBlock::default() };
        assert_eq!(read("<BlockPublicPolicy>TRUE</BlockPublicPolicy>"), Ok(one));
        assert_eq!(read("<BlockPublicPolicy>yes</BlockPublicPolicy>"), Err("MalformedXML"));
        assert_eq!(read("<Other>true</Other>"), Err("MalformedXML"));
    }
}
