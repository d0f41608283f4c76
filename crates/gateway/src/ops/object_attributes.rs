//! GetObjectAttributes.

use super::reading;
use crate::{
    authorize::{Access, Permit, Resource},
    body::Checksums,
    error::S3Error,
    fields::Fields,
    headers,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    sse::customer::{self, Purpose, Triple},
    xml::XmlWriter,
};
use std::sync::Arc;
use tresor_envelope::CustomerKey;
use tresor_front::Response;
use tresor_model::{BucketName, ChecksumType, ObjectKey, VersionId};
use tresor_storage::Version;

pub(crate) struct GetObjectAttributes;

pub(crate) struct Input {
    bucket: BucketName,
    expected_owner: Option<String>,
    key: ObjectKey,
    version: Option<VersionId>,
    customer: Option<CustomerKey>,
    wanted: Vec<Attribute>,
    max_parts: usize,
    after_part: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    ETag,
    Checksum,
    ObjectParts,
    StorageClass,
    ObjectSize,
}

pub(crate) struct Output {
    version: Arc<Version>,
    wanted: Vec<Attribute>,
    checksums: Checksums,
    parts: Option<Parts>,
}

struct Parts {
    total: u16,
    after: u16,
    max: usize,
    next: u16,
    truncated: bool,
    listed: Vec<(u16, u64, Checksums)>,
}

/// S3's most parts in one answer.
const MAX_PARTS: u32 = 1000;

fn header_number(fields: &mut Fields, name: &'static str) -> Result<Option<u32>, S3Error> {
    fields.take_parsed(name, &format!("Provided {name} not an integer or within integer range"))
}

impl Operation for GetObjectAttributes {
    const NAME: &'static str = "GetObjectAttributes";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let names = fields.take("x-amz-object-attributes")?.unwrap_or_default();
        let wanted: Result<Vec<Attribute>, S3Error> = names
            .split(',')
            .map(|name| match name.trim() {
                "ETag" => Ok(Attribute::ETag),
                "Checksum" => Ok(Attribute::Checksum),
                "ObjectParts" => Ok(Attribute::ObjectParts),
                "StorageClass" => Ok(Attribute::StorageClass),
                "ObjectSize" => Ok(Attribute::ObjectSize),
                _ => {
                    Err(S3Error::invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", None))
                }
            })
            .collect();
        Ok(Input {
            bucket: fields.bucket()?,
            expected_owner: fields.expected_owner()?,
            key: fields.key()?,
            version: fields.version_id()?,
            customer: customer::take(fields, Triple::Object, Purpose::Read)?,
            wanted: wanted?,
            max_parts: header_number(fields, "x-amz-max-parts")?.unwrap_or(MAX_PARTS).min(MAX_PARTS) as usize,
            after_part: header_number(fields, "x-amz-part-number-marker")?.unwrap_or(0).try_into().unwrap_or(u16::MAX),
        })
    }

    fn access(input: &Input) -> Access {
        let resource = Resource::Object(input.bucket.clone(), input.key.clone());
        let (read, attributes) = match input.version {
            Some(_) => ("s3:GetObjectVersion", "s3:GetObjectVersionAttributes"),
            None => ("s3:GetObject", "s3:GetObjectAttributes"),
        };
        Access::one(read, resource.clone(), input.expected_owner.clone()).and(attributes, resource, None)
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let (input, bucket, _) = permit.into_parts()?;
        let version = reading::find(cx, &bucket, &input.key, input.version.as_ref()).await?;
        reading::check_customer(&version, input.customer.as_ref())?;
        let wants = |attribute| input.wanted.contains(&attribute);
        // The object's key opens the checksums, and for SSE-C it is what the caller must know.
        let needs_key = input.customer.is_some()
            || (version.checksums.is_some() && (wants(Attribute::Checksum) || wants(Attribute::ObjectParts)));
        let key =
            if needs_key { Some(reading::recover(cx, &bucket, &version, input.customer.clone()).await?) } else { None };
        let checksums = match &key {
            Some(key) if wants(Attribute::Checksum) => reading::checksums(&version, key)?,
            _ => Vec::new(),
        };
        let parts = match version.parts_count {
            Some(total) if wants(Attribute::ObjectParts) => {
                let rows = cx.gateway.store.parts(&bucket, &version).await?;
                let mut after = rows.iter().filter(|row| row.number > input.after_part);
                let mut listed = Vec::new();
                for row in after.by_ref().take(input.max_parts) {
                    let sums = match (&key, &row.sealed_checksums) {
                        (Some(key), Some(sealed)) => reading::open_checksums(key, &row.sealed.salt, sealed)?,
                        _ => Vec::new(),
                    };
                    listed.push((row.number, row.size, sums));
                }
                let truncated = after.next().is_some();
                let next = listed.last().map_or(0, |(number, ..)| *number);
                Some(Parts { total, after: input.after_part, max: input.max_parts, next, truncated, listed })
            }
            _ => None,
        };
        Ok(Output { version, wanted: input.wanted, checksums, parts })
    }

    fn respond(Output { version, wanted, checksums, parts }: Output) -> Response {
        let wants = |attribute| wanted.contains(&attribute);
        let mut xml = XmlWriter::document("GetObjectAttributesResponse");
        if wants(Attribute::ETag) {
            xml.text("ETag", &version.etag.to_string());
        }
        if !checksums.is_empty() {
            let kind = version.checksums.as_ref().map_or(ChecksumType::FullObject, |stored| stored.kind);
            xml.within("Checksum", |xml| {
                for (algorithm, value) in &checksums {
                    // Here, unlike in headers, a COMPOSITE value bears no part count.
                    xml.text(algorithm.element(), &headers::checksum_text(value, kind, None));
                }
                xml.text("ChecksumType", kind.name());
            });
        }
        if let Some(parts) = parts {
            xml.within("ObjectParts", |xml| {
                // S3 lists the parts themselves only for objects whose parts have checksums.
                let detailed = parts.listed.iter().any(|(_, _, sums)| !sums.is_empty());
                if detailed {
                    xml.text("IsTruncated", if parts.truncated { "true" } else { "false" });
                    xml.text("MaxParts", &parts.max.to_string());
                    xml.text("NextPartNumberMarker", &parts.next.to_string());
                    xml.text("PartNumberMarker", &parts.after.to_string());
                    for (number, size, sums) in &parts.listed {
                        xml.within("Part", |xml| {
                            for (algorithm, value) in sums {
                                xml.text(
                                    algorithm.element(),
                                    &headers::checksum_text(value, ChecksumType::FullObject, None),
                                );
                            }
                            xml.text("PartNumber", &number.to_string());
                            xml.text("Size", &size.to_string());
                        });
                    }
                }
                xml.text("PartsCount", &parts.total.to_string());
            });
        }
        if wants(Attribute::StorageClass) {
            xml.text("StorageClass", version.meta.storage_class.as_deref().unwrap_or("STANDARD"));
        }
        if wants(Attribute::ObjectSize) {
            xml.text("ObjectSize", &version.size.to_string());
        }
        let mut response = xml.respond();
        headers::set(response.headers_mut(), "last-modified", &headers::http_date(version.modified));
        if let VersionId::Id(id) = version.version_id {
            headers::set(response.headers_mut(), "x-amz-version-id", &id.to_string());
        }
        response
    }
}
