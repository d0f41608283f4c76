//! ListParts.

use super::{
    multipart::{self, Named, part_checksums},
    owners::{Owners, write_owner},
};
use crate::{
    authorize::{Access, Permit},
    body::Checksums,
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::customer::{self, Purpose, Triple},
    table,
    xml::XmlWriter,
};
use tresor_envelope::{CustomerKey, SseMode};
use tresor_front::Response;
use tresor_model::ChecksumType;
use tresor_storage::{PartRow, Upload};

pub(crate) struct ListParts;

/// S3's most parts of one answer.
const MAX_LISTED: u32 = 1000;

pub(crate) struct Input {
    named: Named,
    customer: Option<CustomerKey>,
    after: u16,
    max: u32,
}

pub(crate) struct Output {
    input: Input,
    upload: Upload,
    parts: Vec<(PartRow, Checksums)>,
    more: bool,
    owner: (String, String),
    initiator: (String, String),
}

impl Operation for ListParts {
    const NAME: &'static str = "ListParts";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let after = fields.query_number("part-number-marker", u32::from(u16::MAX))?.unwrap_or(0);
        Ok(Input {
            customer: customer::take(fields, Triple::Object, Purpose::Read)?,
            after: u16::try_from(after).unwrap_or(u16::MAX),
            max: fields.query_number("max-parts", MAX_LISTED)?.unwrap_or(MAX_LISTED),
            named: Named::parse(fields)?,
        })
    }

    fn access(input: &Input) -> Access {
        input.named.access(table::action(Self::NAME))
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (mut input, bucket, _) = permit.into_parts()?;
        let upload = input.named.find(cx, &bucket).await?;
        let customer = input.customer.take();
        // Only an upload that was created with a checksum shows those of its parts, and only to who has the key.
        let hidden =
            upload.checksum.is_none() || (upload.envelope.header.mode == SseMode::Customer && customer.is_none());
        let key = if hidden { None } else { Some(multipart::recover(cx, &bucket, &upload, customer).await?) };
        let (rows, more) = cx.gateway.store.upload_parts(&bucket, &upload, input.after, input.max as usize).await?;
        let mut parts = Vec::with_capacity(rows.len());
        for row in rows {
            let mut checksums = match &key {
                Some(key) => part_checksums(key, &row)?,
                None => Vec::new(),
            };
            checksums.retain(|(algorithm, _)| upload.checksum.is_some_and(|(named, _)| named == *algorithm));
            parts.push((row, checksums));
        }
        let owners = Owners::of(cx, &bucket, std::iter::once(upload.object_owner())).await?;
        let owner = owners.shown(upload.object_owner()).clone();
        let initiator = cx.gateway.directory.owner(&upload.owner);
        Ok(Output { input, upload, parts, more, owner, initiator })
    }

    fn respond(Output { input, upload, parts, more, owner, initiator }: Output) -> Response {
        let mut xml = XmlWriter::document("ListPartsResult");
        xml.text("Bucket", input.named.bucket.as_str());
        xml.text("Key", input.named.key.as_str());
        xml.text("UploadId", &input.named.upload);
        xml.text("PartNumberMarker", &input.after.to_string());
        xml.text("NextPartNumberMarker", &parts.last().map_or(0, |(part, _)| part.number).to_string());
        xml.text("MaxParts", &input.max.to_string());
        xml.text("IsTruncated", if more { "true" } else { "false" });
        for (part, checksums) in &parts {
            xml.within("Part", |xml| {
                xml.text("PartNumber", &part.number.to_string());
                xml.text("LastModified", &part.modified.iso8601());
                xml.text("ETag", &headers::quoted(&part.etag));
                xml.text("Size", &part.size.to_string());
                for (algorithm, value) in checksums {
                    xml.text(algorithm.element(), &headers::checksum_text(value, ChecksumType::FullObject, None));
                }
            });
        }
        write_owner(&mut xml, "Initiator", &initiator);
        write_owner(&mut xml, "Owner", &owner);
        xml.text("StorageClass", upload.meta.storage_class.as_deref().unwrap_or("STANDARD"));
        if let Some((algorithm, kind)) = upload.checksum {
            xml.text("ChecksumAlgorithm", algorithm.name());
            xml.text("ChecksumType", kind.name());
        }
        xml.respond()
    }
}
