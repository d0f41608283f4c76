//! GetBucketOwnershipControls, PutBucketOwnershipControls, DeleteBucketOwnershipControls and their document. Source: S3 user guide,
//! "Controlling ownership of objects and disabling ACLs for your bucket".

use super::{bucket::Named, sub_resource::SubResource};
use crate::{
    acl,
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    table,
    xml::{Element, XmlWriter},
};
use http::StatusCode;
use tresor_front::{Response, ResponseBody};

pub(crate) struct GetBucketOwnershipControls;
pub(crate) struct PutBucketOwnershipControls;
pub(crate) struct DeleteBucketOwnershipControls;

/// The bucket document's kind in the store.
pub(crate) const DOCUMENT: &str = "ownership";
/// The longest configuration, in bytes.
const MAX_CONFIGURATION: usize = 16 * 1024;

/// Who owns an object that another account writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub(crate) enum Ownership {
    /// The bucket's owner; lists are disabled.
    #[n(0)]
    BucketOwnerEnforced,
    /// The bucket's owner, if the writer asks for `bucket-owner-full-control`.
    #[n(1)]
    BucketOwnerPreferred,
    /// The writer.
    #[n(2)]
    ObjectWriter,
}

impl Ownership {
    const ALL: [Self; 3] = [Self::BucketOwnerEnforced, Self::BucketOwnerPreferred, Self::ObjectWriter];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }
    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }
}

pub(crate) type Stored = super::sub_resource::Stored<Ownership>;

impl SubResource for Ownership {
    const DOCUMENT: &'static str = DOCUMENT;
    const NEW: Self = Self::BucketOwnerEnforced;
    /// Without controls an object belongs to its writer, as before there were any.
    const WITHOUT: Self = Self::ObjectWriter;
}

/// Reads `OwnershipControls`: exactly one rule. Errors: MalformedXML.
fn from_xml(document: &[u8]) -> Result<Ownership, S3Error> {
    let root = Element::parse(document, "OwnershipControls")?;
    root.expect_only(&["Rule"])?;
    let rule = root.only("Rule")?;
    rule.expect_only(&["ObjectOwnership"])?;
    Ownership::named(rule.text_of("ObjectOwnership")?.trim()).ok_or_else(S3Error::malformed_xml)
}

impl Operation for GetBucketOwnershipControls {
    const NAME: &'static str = "GetBucketOwnershipControls";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = Ownership;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<Ownership, S3Error> {
        let (_, bucket, _) = permit.into_parts()?;
        match cx.gateway.rules(&bucket).await?.ownership {
            Stored::Set(ownership) => Ok(ownership),
            Stored::Removed => Err(S3Error::no_such_document(
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
            )
            .with("BucketName", bucket.name.as_str())),
        }
    }
    fn respond(ownership: Ownership) -> Response {
        let mut xml = XmlWriter::document("OwnershipControls");
        xml.within("Rule", |xml| xml.text("ObjectOwnership", ownership.name()));
        xml.respond()
    }
}

impl Operation for PutBucketOwnershipControls {
    const NAME: &'static str = "PutBucketOwnershipControls";
    const BODY: BodyKind = BodyKind::Document { limit: MAX_CONFIGURATION };
    type Input = (Named, Ownership);
    type Output = ();

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let ownership = from_xml(fields.document())?;
        Ok((Named::parse(fields)?, ownership))
    }
    fn access((named, _): &Self::Input) -> Access {
        named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<(), S3Error> {
        let ((_, ownership), bucket, _) = permit.into_parts()?;
        // Lists that let others in must go before lists are disabled.
        if ownership == Ownership::BucketOwnerEnforced
            && !acl::of_bucket(cx.gateway, &bucket).await?.is_private_to(&bucket.owner)
        {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        cx.put_document(&bucket, DOCUMENT, Stored::Set(ownership).to_bytes()).await
    }
    fn respond((): ()) -> Response {
        Response::new(ResponseBody::Empty)
    }
}

impl Operation for DeleteBucketOwnershipControls {
    const NAME: &'static str = "DeleteBucketOwnershipControls";
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
    fn one_rule_of_three() {
        let read = |inside: &str| {
            from_xml(format!("<OwnershipControls>{inside}</OwnershipControls>").as_bytes()).map_err(|error| error.code)
        };
        let rule = |name: &str| format!("<Rule><ObjectOwnership>{name}</ObjectOwnership></Rule>");
        for known in Ownership::ALL {
            assert_eq!(read(&rule(known.name())), Ok(known));
        }
        assert_eq!(read(&rule("Nobody")), Err("MalformedXML"));
        assert_eq!(read(""), Err("MalformedXML"));
        assert_eq!(read(&rule("ObjectWriter").repeat(2)), Err("MalformedXML"));
    }
}
