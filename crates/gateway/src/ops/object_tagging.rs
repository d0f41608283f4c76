//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging and their document.

use super::reading;
use crate::{
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation, no_content},
    serve::RequestContext,
    xml::{Element, XmlWriter},
};
use tresor_front::{Response, ResponseBody};
use tresor_model::{BucketName, ObjectKey, TagSet, VersionId};
use tresor_storage::VersionChange;

pub(crate) struct GetObjectTagging;
pub(crate) struct PutObjectTagging;
pub(crate) struct DeleteObjectTagging;

/// Ten tags of 128 and 256 characters, four bytes each, and their elements.
const DOCUMENT_LIMIT: usize = 64 * 1024;

pub(crate) struct Named {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
}

impl Named {
    fn parse(fields: &mut Fields) -> Result<Self, S3Error> {
        Ok(Self {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            version: fields.version_id()?,
        })
    }
    fn action(&self, plain: &'static str, versioned: &'static str) -> &'static str {
        if self.version.is_some() { versioned } else { plain }
    }
    fn access(&self, plain: &'static str, versioned: &'static str) -> Access {
        let action = self.action(plain, versioned);
        Access::one(action, Resource::Object(self.bucket.clone(), self.key.clone()), self.expected_owner.clone())
    }
}

/// Reads a `Tagging` document. Errors: MalformedXML, InvalidTag, BadRequest.
pub(crate) fn from_xml(document: &[u8]) -> Result<TagSet, S3Error> {
    let root = Element::parse(document, "Tagging")?;
    let mut pairs = Vec::new();
    for tag in root.only("TagSet")?.children.iter() {
        if tag.name != "Tag" {
            return Err(S3Error::malformed_xml());
        }
        pairs.push((tag.text_of("Key")?.to_owned(), tag.text_of("Value")?.to_owned()));
    }
    headers::checked_tags(pairs)
}

fn with_version(mut response: Response, version: VersionId) -> Response {
    if let VersionId::Id(id) = version {
        headers::set(response.headers_mut(), "x-amz-version-id", &id.to_string());
    }
    response
}

impl Operation for GetObjectTagging {
    const NAME: &'static str = "GetObjectTagging";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = (VersionId, TagSet);

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access("s3:GetObjectTagging", "s3:GetObjectVersionTagging")
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<Self::Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let version = reading::find(cx, &bucket, &input.key, input.version.as_ref()).await?;
        Ok((version.version_id, version.tags.clone()))
    }
    fn respond((version, tags): Self::Output) -> Response {
        let mut xml = XmlWriter::document("Tagging");
        xml.within("TagSet", |xml| {
            for (key, value) in tags.iter() {
                xml.within("Tag", |xml| {
                    xml.text("Key", key);
                    xml.text("Value", value);
                });
            }
        });
        with_version(xml.respond(), version)
    }
}

impl Operation for PutObjectTagging {
    const NAME: &'static str = "PutObjectTagging";
    const BODY: BodyKind = BodyKind::Document { limit: DOCUMENT_LIMIT };
    type Input = (Named, TagSet);
    type Output = VersionId;

    fn parse(fields: &mut Fields) -> Result<Self::Input, S3Error> {
        let tags = from_xml(fields.document())?;
        Ok((Named::parse(fields)?, tags))
    }
    fn access((named, tags): &Self::Input) -> Access {
        named.access("s3:PutObjectTagging", "s3:PutObjectVersionTagging").with_tags(tags)
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Self::Input>) -> Result<VersionId, S3Error> {
        let ((named, tags), bucket, _) = permit.into_parts()?;
        let place = (&bucket, &named.key, named.version.as_ref());
        let action = named.action("s3:PutObjectTagging", "s3:PutObjectVersionTagging");
        reading::change(cx, place, action, |_| Ok(Some(VersionChange::Tags(tags.clone())))).await
    }
    fn respond(version: VersionId) -> Response {
        with_version(Response::new(ResponseBody::Empty), version)
    }
}

impl Operation for DeleteObjectTagging {
    const NAME: &'static str = "DeleteObjectTagging";
    const BODY: BodyKind = BodyKind::None;
    type Input = Named;
    type Output = VersionId;

    fn parse(fields: &mut Fields) -> Result<Named, S3Error> {
        Named::parse(fields)
    }
    fn access(input: &Named) -> Access {
        input.access("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Named>) -> Result<VersionId, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let place = (&bucket, &input.key, input.version.as_ref());
        let action = input.action("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging");
        reading::change(cx, place, action, |_| Ok(Some(VersionChange::Tags(TagSet::default())))).await
    }
    fn respond(version: VersionId) -> Response {
        with_version(no_content(), version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagging_documents() {
        let read = |text: &str| from_xml(text.as_bytes()).map(|tags| tags.len()).map_err(|error| error.code);
        let tag = |key: &str| format!("<Tag><Key>{key}</Key><Value>v</Value></Tag>");
        let document = |tags: &str| format!("<Tagging><TagSet>{tags}</TagSet></Tagging>");
        assert_eq!(read(&document("")), Ok(0));
        assert_eq!(read(&document(&tag("a"))), Ok(1));
        assert_eq!(read(&document(&(tag("a") + &tag("a")))), Err("InvalidTag"));
        assert_eq!(read(&document(&tag("aws:a"))), Err("InvalidTag"));
        assert_eq!(read(&document(&(0..11).map(|n| tag(&n.to_string())).collect::<String>())), Err("BadRequest"));
        assert_eq!(read("<Tagging/>"), Err("MalformedXML"));
        assert_eq!(read(&document("<Tag><Key>a</Key></Tag>")), Err("MalformedXML"));
    }
}
