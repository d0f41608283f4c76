//! ListMultipartUploads.

use super::{
    bucket::Named,
    list_objects::Encoding,
    owners::{Owners, write_owner},
};
use crate::{
    authorize::{Access, Permit},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    table,
    xml::XmlWriter,
};
use tresor_front::Response;
use tresor_storage::{ListingQuery, Upload, UploadListing};

pub(crate) struct ListMultipartUploads;

/// S3's most uploads of one answer.
const MAX_UPLOADS: u32 = 1000;

pub(crate) struct Input {
    named: Named,
    query: ListingQuery,
    encoding: Encoding,
    max: u32,
}

pub(crate) struct Output {
    input: Input,
    listing: UploadListing,
    /// Of objects to be.
    owners: Owners,
    initiators: Owners,
}

impl Operation for ListMultipartUploads {
    const NAME: &'static str = "ListMultipartUploads";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let max = fields.query_number("max-uploads", MAX_UPLOADS)?.unwrap_or(MAX_UPLOADS);
        let after = fields.query("key-marker").filter(|marker| !marker.is_empty()).map(str::to_owned);
        // Without a key marker the upload id marker does not count, as S3 specifies.
        let after_upload =
            match fields.query("upload-id-marker").filter(|marker| !marker.is_empty() && after.is_some()) {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    S3Error::invalid_argument("Invalid uploadId marker", "upload-id-marker", Some(text))
                })?),
            };
        Ok(Input {
            query: ListingQuery {
                prefix: fields.query("prefix").unwrap_or_default().to_owned(),
                delimiter: fields.query("delimiter").filter(|d| !d.is_empty()).map(str::to_owned),
                after,
                after_upload,
                limit: max as usize,
            },
            encoding: Encoding::take(fields)?,
            max,
            named: Named::parse(fields)?,
        })
    }

    fn access(input: &Input) -> Access {
        input.named.access(table::action(Self::NAME))
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let listing = cx.gateway.store.list_uploads(&bucket, &input.query).await?;
        let owners = Owners::of(cx, &bucket, listing.uploads.iter().map(Upload::object_owner)).await?;
        let initiators = Owners::named(cx, &bucket, listing.uploads.iter().map(|upload| &upload.owner));
        Ok(Output { input, listing, owners, initiators })
    }

    fn respond(Output { input, listing, owners, initiators }: Output) -> Response {
        let encoding = input.encoding;
        let mut xml = XmlWriter::document("ListMultipartUploadsResult");
        xml.text("Bucket", input.named.bucket.as_str());
        xml.text("KeyMarker", &encoding.text(input.query.after.as_deref().unwrap_or_default()));
        let marker = input.query.after_upload.map(|id| id.to_string());
        xml.text("UploadIdMarker", marker.as_deref().unwrap_or_default());
        if let Some((key, upload)) = &listing.next {
            xml.text("NextKeyMarker", &encoding.text(key));
            xml.text("NextUploadIdMarker", &upload.map(|id| id.to_string()).unwrap_or_default());
        }
        xml.text("Prefix", &encoding.text(&input.query.prefix));
        if let Some(delimiter) = &input.query.delimiter {
            xml.text("Delimiter", &encoding.text(delimiter));
        }
        xml.text("MaxUploads", &input.max.to_string());
        encoding.write(&mut xml);
        xml.text("IsTruncated", if listing.next.is_some() { "true" } else { "false" });
        for upload in &listing.uploads {
            xml.within("Upload", |xml| {
                xml.text("Key", &encoding.text(upload.key.as_str()));
                xml.text("UploadId", &upload.id.to_string());
                write_owner(xml, "Initiator", initiators.shown(&upload.owner));
                write_owner(xml, "Owner", owners.shown(upload.object_owner()));
                xml.text("StorageClass", upload.meta.storage_class.as_deref().unwrap_or("STANDARD"));
                xml.text("Initiated", &upload.initiated.iso8601());
                if let Some((algorithm, kind)) = upload.checksum {
                    xml.text("ChecksumAlgorithm", algorithm.name());
                    xml.text("ChecksumType", kind.name());
                }
            });
        }
        for prefix in &listing.prefixes {
            xml.within("CommonPrefixes", |xml| xml.text("Prefix", &encoding.text(prefix)));
        }
        xml.respond()
    }
}
