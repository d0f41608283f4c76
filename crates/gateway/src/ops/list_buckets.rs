//! ListBuckets.

use crate::{
    authorize::{Access, Permit, Resource},
    error::S3Error,
    fields::Fields,
    operation::{BodyKind, Operation},
    serve::RequestContext,
    table,
    xml::XmlWriter,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tresor_front::Response;
use tresor_storage::Bucket;

pub(crate) struct ListBuckets;

pub(crate) struct Input {
    prefix: String,
    after: Option<String>,
    limit: usize,
    region: Option<String>,
}

pub(crate) struct Output {
    buckets: Vec<Bucket>,
    more: bool,
    prefix: String,
    owner: (String, String),
}

/// The most buckets of one answer.
const MAX_BUCKETS: u32 = 10_000;

impl Operation for ListBuckets {
    const NAME: &'static str = "ListBuckets";
    const BODY: BodyKind = BodyKind::None;
    type Input = Input;
    type Output = Output;

    fn parse(fields: &mut Fields) -> Result<Input, S3Error> {
        let after = match fields.query("continuation-token") {
            None => None,
            Some(token) => {
                let wrong = || {
                    S3Error::invalid_argument(
                        "The continuation token provided is incorrect",
                        "continuation-token",
                        None,
                    )
                };
                let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
                Some(String::from_utf8(bytes).map_err(|_| wrong())?)
            }
        };
        Ok(Input {
            prefix: fields.query("prefix").unwrap_or_default().to_owned(),
            after,
            limit: fields.query_number("max-buckets", MAX_BUCKETS)?.unwrap_or(MAX_BUCKETS) as usize,
            region: fields.query("bucket-region").map(str::to_owned),
        })
    }

    fn access(_: &Input) -> Access {
        Access::one(table::action(Self::NAME), Resource::Account, None)
    }

    async fn run(cx: &RequestContext<'_>, permit: Permit<Input>) -> Result<Output, S3Error> {
        let input = permit.into_input();
        let account = super::writing::account(cx)?;
        let (mut buckets, more) =
            cx.gateway.store.buckets(&account, &input.prefix, input.after.as_deref(), input.limit).await?;
        if let Some(region) = input.region {
            buckets.retain(|bucket| bucket.region == region);
        }
        Ok(Output { buckets, more, prefix: input.prefix, owner: cx.gateway.directory.owner(&account) })
    }

    fn respond(Output { buckets, more, prefix, owner }: Output) -> Response {
        let mut xml = XmlWriter::document("ListAllMyBucketsResult");
        xml.within("Owner", |xml| {
            xml.text("ID", &owner.0);
            xml.text("DisplayName", &owner.1);
        });
        xml.within("Buckets", |xml| {
            for bucket in &buckets {
                xml.within("Bucket", |xml| {
                    xml.text("Name", bucket.name.as_str());
                    xml.text("CreationDate", &bucket.created.iso8601());
                    xml.text("BucketRegion", &bucket.region);
                });
            }
        });
        xml.optional("Prefix", Some(prefix.as_str()).filter(|prefix| !prefix.is_empty()));
        if let Some(last) = buckets.last().filter(|_| more) {
            xml.text("ContinuationToken", &URL_SAFE_NO_PAD.encode(last.name.as_str()));
        }
        xml.respond()
    }
}
