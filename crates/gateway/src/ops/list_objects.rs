//! ListObjects, ListObjectsV2, ListObjectVersions: one query, three documents.

use super::{
    bucket::Named,
    owners::{Owners, write_owner},
};
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    table,
    xml::{Decimal, XmlWriter},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;
use tresor_front::Response;
use tresor_storage::{Listed, Listing, ListingQuery};

pub(crate) struct ListObjects;
pub(crate) struct ListObjectsV2;
pub(crate) struct ListObjectVersions;

/// S3's most keys of one answer.
const MAX_KEYS: u32 = 1000;

/// What all listings are asked.
pub(crate) struct Common {
    named: Named,
    pub query: ListingQuery,
    pub encoding: Encoding,
    max: u32,
}

/// Whether names in the answer are percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Url,
}

const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

impl Encoding {
    pub(crate) fn take(fields: &Fields) -> Result<Self, S3Error> {
        match fields.query("encoding-type") {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(other) => Err(S3Error::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                Some(other),
            )),
        }
    }
    pub(crate) fn text(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(name),
            Self::Url => utf8_percent_encode(name, URL).into(),
        }
    }
    pub(crate) fn write(self, xml: &mut XmlWriter) {
        if self == Self::Url {
            xml.text("EncodingType", "url");
        }
    }
}

impl Common {
    fn parse(fields: &mut Fields, after: Option<String>) -> Result<Self, S3Error> {
        let max = fields.query_number("max-keys", MAX_KEYS)?.unwrap_or(MAX_KEYS);
        Ok(Self {
            query: ListingQuery {
                prefix: fields.query("prefix").unwrap_or_default().to_owned(),
                delimiter: fields.query("delimiter").filter(|d| !d.is_empty()).map(str::to_owned),
                after: after.filter(|after| !after.is_empty()),
                after_upload: None,
                limit: max as usize,
            },
            encoding: Encoding::take(fields)?,
            max,
            named: Named::parse(fields)?,
        })
    }

    /// The elements that every listing begins with.
    fn head(&self, xml: &mut XmlWriter) {
        xml.text("Name", self.named.bucket.as_str());
        xml.text("Prefix", &self.encoding.text(&self.query.prefix));
        if let Some(delimiter) = &self.query.delimiter {
            xml.text("Delimiter", &self.encoding.text(delimiter));
        }
        xml.number("MaxKeys", self.max.into());
        self.encoding.write(xml);
    }
}

/// What all listings answer.
pub(crate) struct Output<T> {
    input: T,
    listing: Listing,
    owners: Owners,
}

async fn list(
    cx: &RequestContext<'_>,
    bucket: &tresor_storage::Bucket,
    query: &ListingQuery,
) -> Result<(Listing, Owners), S3Error> {
    let listing = cx.gateway.store.list_objects(bucket, query).await?;
    let owners = Owners::of(cx, bucket, listing.owners().iter()).await?;
    Ok((listing, owners))
}

/// Bytes that an answer has besides its items, and each item besides its name; more than that is rare, and only costs a copy.
const AROUND: usize = 1024;
const AROUND_ITEM: usize = 256;

/// A document with room for the listing.
fn document(root: &'static str, listing: &Listing) -> XmlWriter {
    let mut xml = XmlWriter::document(root);
    xml.reserve(AROUND + listing.count() * AROUND_ITEM + listing.text_bytes());
    xml
}

fn truncated(xml: &mut XmlWriter, listing: &Listing) {
    xml.text("IsTruncated", if listing.next.is_some() { "true" } else { "false" });
}

fn prefixes(xml: &mut XmlWriter, listing: &Listing, encoding: Encoding) {
    for prefix in &listing.prefixes {
        xml.within("CommonPrefixes", |xml| xml.text("Prefix", &encoding.text(prefix)));
    }
}

/// What a listing says about one object, between its key and its owner.
fn describe(xml: &mut XmlWriter, object: &Listed<'_>) {
    let mut digest = [0; 32];
    hex::encode_to_slice(object.etag.digest, &mut digest).expect("two digits a byte");
    xml.pieces([b"<LastModified>", &object.modified.iso8601_ascii(), b"</LastModified><ETag>&quot;", &digest]);
    if let Some(parts) = object.etag.parts {
        xml.pieces([b"-", Decimal::of(parts.into()).digits()]);
    }
    xml.pieces([b"&quot;</ETag><Size>", Decimal::of(object.size).digits(), b"</Size>"]);
    match object.storage_class {
        None => xml.pieces([b"<StorageClass>STANDARD</StorageClass>"]),
        Some(class) => xml.text("StorageClass", class),
    }
}

fn contents(xml: &mut XmlWriter, listing: &Listing, encoding: Encoding, owners: Option<&Owners>) {
    for object in listing.objects() {
        xml.within("Contents", |xml| {
            xml.text("Key", &encoding.text(object.key));
            describe(xml, &object);
            if let Some(owners) = owners {
                write_owner(xml, "Owner", owners.shown(object.owner));
            }
        });
    }
}

impl Operation for ListObjects {
    const NAME: &'static str = "ListObjects";
    const BODY: BodyKind = BodyKind::None;
    type Input = Common;
    type Output = Output<Common>;

    fn parse(fields: &mut Fields) -> Result<Common, S3Error> {
        let marker = fields.query("marker").map(str::to_owned);
        Common::parse(fields, marker)
    }
    fn access(input: &Common) -> Access {
        input.named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Common>) -> Result<Self::Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let (listing, owners) = list(cx, &bucket, &input.query).await?;
        Ok(Output { input, listing, owners })
    }
    fn respond(Output { input, listing, owners }: Self::Output) -> Response {
        let mut xml = document("ListBucketResult", &listing);
        input.head(&mut xml);
        xml.text("Marker", &input.encoding.text(input.query.after.as_deref().unwrap_or_default()));
        truncated(&mut xml, &listing);
        // Without a delimiter the last key is the marker.
        if let Some(next) = listing.next.as_ref().filter(|_| input.query.delimiter.is_some()) {
            xml.text("NextMarker", &input.encoding.text(next));
        }
        contents(&mut xml, &listing, input.encoding, Some(&owners));
        prefixes(&mut xml, &listing, input.encoding);
        xml.respond()
    }
}

pub(crate) struct V2 {
    common: Common,
    token: Option<String>,
    start_after: Option<String>,
    fetch_owner: bool,
}

impl Operation for ListObjectsV2 {
    const NAME: &'static str = "ListObjectsV2";
    const BODY: BodyKind = BodyKind::None;
    type Input = V2;
    type Output = Output<V2>;

    fn parse(fields: &mut Fields) -> Result<V2, S3Error> {
        let token = fields.query("continuation-token").map(str::to_owned);
        let start_after = fields.query("start-after").filter(|after| !after.is_empty()).map(str::to_owned);
        let wrong =
            || S3Error::invalid_argument("The continuation token provided is incorrect", "continuation-token", None);
        let after = match &token {
            Some(token) if token.is_empty() => return Err(wrong()),
            Some(token) => {
                let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
                Some(String::from_utf8(bytes).map_err(|_| wrong())?)
            }
            None => start_after.clone(),
        };
        let fetch_owner = fields.query("fetch-owner").is_some_and(|fetch| fetch.eq_ignore_ascii_case("true"));
        Ok(V2 { common: Common::parse(fields, after)?, token, start_after, fetch_owner })
    }
    fn access(input: &V2) -> Access {
        input.common.named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<V2>) -> Result<Self::Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let (listing, owners) = list(cx, &bucket, &input.common.query).await?;
        Ok(Output { input, listing, owners })
    }
    fn respond(Output { input, listing, owners }: Self::Output) -> Response {
        let encoding = input.common.encoding;
        let mut xml = document("ListBucketResult", &listing);
        input.common.head(&mut xml);
        xml.optional("StartAfter", input.start_after.as_deref().map(|after| encoding.text(after)).as_deref());
        xml.optional("ContinuationToken", input.token.as_deref());
        xml.number("KeyCount", listing.count() as u64);
        truncated(&mut xml, &listing);
        xml.optional(
            "NextContinuationToken",
            listing.next.as_ref().map(|next| URL_SAFE_NO_PAD.encode(next)).as_deref(),
        );
        contents(&mut xml, &listing, encoding, Some(&owners).filter(|_| input.fetch_owner));
        prefixes(&mut xml, &listing, encoding);
        xml.respond()
    }
}

/// Until versioning can be switched on, every version has this id.
const NULL_VERSION: &str = "null";

pub(crate) struct Versions {
    common: Common,
    version_marker: Option<String>,
}

impl Operation for ListObjectVersions {
    const NAME: &'static str = "ListObjectVersions";
    const BODY: BodyKind = BodyKind::None;
    type Input = Versions;
    type Output = Output<Versions>;

    fn parse(fields: &mut Fields) -> Result<Versions, S3Error> {
        let marker = fields.query("key-marker").map(str::to_owned);
        let version_marker = fields.query("version-id-marker").filter(|marker| !marker.is_empty()).map(str::to_owned);
        if version_marker.is_some() && marker.as_deref().unwrap_or_default().is_empty() {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(S3Error::invalid_argument(message, "version-id-marker", version_marker.as_deref()));
        }
        Ok(Versions { common: Common::parse(fields, marker)?, version_marker })
    }
    fn access(input: &Versions) -> Access {
        input.common.named.access(table::action(Self::NAME))
    }
    async fn run(cx: &RequestContext<'_>, permit: Permit<Versions>) -> Result<Self::Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let (listing, owners) = list(cx, &bucket, &input.common.query).await?;
        Ok(Output { input, listing, owners })
    }
    fn respond(Output { input, listing, owners }: Self::Output) -> Response {
        let encoding = input.common.encoding;
        let mut xml = document("ListVersionsResult", &listing);
        input.common.head(&mut xml);
        xml.text("KeyMarker", &encoding.text(input.common.query.after.as_deref().unwrap_or_default()));
        xml.text("VersionIdMarker", input.version_marker.as_deref().unwrap_or_default());
        truncated(&mut xml, &listing);
        if let Some(next) = &listing.next {
            xml.text("NextKeyMarker", &encoding.text(next));
            let is_prefix = listing.prefixes.last() == Some(next);
            xml.optional("NextVersionIdMarker", Some(NULL_VERSION).filter(|_| !is_prefix));
        }
        for object in listing.objects() {
            xml.within("Version", |xml| {
                xml.text("Key", &encoding.text(object.key));
                xml.text("VersionId", &object.version_id.to_string());
                xml.text("IsLatest", "true");
                describe(xml, &object);
                write_owner(xml, "Owner", owners.shown(object.owner));
            });
        }
        prefixes(&mut xml, &listing, encoding);
        xml.respond()
    }
}
