//! A bucket's encryption configuration: the stored document, its XML, and the default it gives.

use crate::{
    error::S3Error,
    serve::Gateway,
    xml::{Element, XmlWriter},
};
use tresor_storage::Bucket;

/// The bucket document's kind in the store.
pub(crate) const DOCUMENT: &str = "encryption";

/// What a bucket does with a write that names no encryption, and which types it refuses.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Encryption {
    #[n(0)]
    pub algorithm: Algorithm,
    #[n(1)]
    pub bucket_key: bool,
    #[n(2)]
    pub blocks_customer_keys: bool,
    /// `BlockedEncryptionTypes` was given, so that Get shows it again, be it `NONE`.
    #[n(3)]
    pub blocked_given: bool,
}

/// The default algorithm; a KMS key as the client wrote it (id, ARN or alias), or none for aws/s3.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) enum Algorithm {
    #[n(0)]
    S3,
    #[n(1)]
    Kms(#[n(0)] Option<String>),
    #[n(2)]
    Dsse(#[n(0)] Option<String>),
}

impl Encryption {
    /// What every bucket does until told otherwise.
    pub(crate) const fn initial(blocks_customer_keys: bool) -> Self {
        Self { algorithm: Algorithm::S3, bucket_key: false, blocks_customer_keys, blocked_given: blocks_customer_keys }
    }

    /// The configuration in force.
    pub(crate) async fn of(gateway: &Gateway, bucket: &Bucket) -> Result<Self, S3Error> {
        Ok(gateway.rules(bucket).await?.encryption.clone())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("encoding into a Vec cannot fail")
    }

    /// Reads `ServerSideEncryptionConfiguration`. Errors: MalformedXML, InvalidArgument (`sse.md` section 2.5).
    pub(crate) fn from_xml(document: &[u8]) -> Result<Self, S3Error> {
        let root = Element::parse(document, "ServerSideEncryptionConfiguration")?;
        root.expect_only(&["Rule"])?;
        let rule = root.only("Rule")?;
        rule.expect_only(&["ApplyServerSideEncryptionByDefault", "BucketKeyEnabled", "BlockedEncryptionTypes"])?;
        let bucket_key = match rule.optional_text_of("BucketKeyEnabled")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(S3Error::malformed_xml()),
        };
        let algorithm = match rule.at_most_one("ApplyServerSideEncryptionByDefault")? {
            None => Algorithm::S3,
            Some(default) => {
                default.expect_only(&["SSEAlgorithm", "KMSMasterKeyID"])?;
                let key = default.optional_text_of("KMSMasterKeyID")?.filter(|key| !key.is_empty()).map(str::to_owned);
                match (default.text_of("SSEAlgorithm")?, key) {
                    ("AES256", None) => Algorithm::S3,
                    ("AES256", Some(_)) => {
                        return Err(S3Error::invalid_argument(
                            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
                            "ApplyServerSideEncryptionByDefault",
                            None,
                        ));
                    }
                    ("aws:kms", key) => Algorithm::Kms(key),
                    ("aws:kms:dsse", key) => Algorithm::Dsse(key),
                    _ => return Err(S3Error::malformed_xml()),
                }
            }
        };
        let (blocks_customer_keys, blocked_given) = match rule.at_most_one("BlockedEncryptionTypes")? {
            None => (false, false),
            Some(blocked) => {
                blocked.expect_only(&["EncryptionType"])?;
                let types: Vec<&str> = blocked.all("EncryptionType").map(|t| t.text.as_str()).collect();
                match types.as_slice() {
                    ["SSE-C"] => (true, true),
                    ["NONE"] => (false, true),
                    _ => return Err(S3Error::malformed_xml()),
                }
            }
        };
        Ok(Self { algorithm, bucket_key, blocks_customer_keys, blocked_given })
    }

    pub(crate) fn to_xml(&self) -> XmlWriter {
        let mut xml = XmlWriter::document("ServerSideEncryptionConfiguration");
        xml.within("Rule", |xml| {
            xml.within("ApplyServerSideEncryptionByDefault", |xml| {
                let (name, key) = match &self.algorithm {
                    Algorithm::S3 => ("AES256", None),
                    Algorithm::Kms(key) => ("aws:kms", key.as_deref()),
                    Algorithm::Dsse(key) => ("aws:kms:dsse", key.as_deref()),
                };
                xml.text("SSEAlgorithm", name);
                xml.optional("KMSMasterKeyID", key);
            });
            xml.text("BucketKeyEnabled", if self.bucket_key { "true" } else { "false" });
            if self.blocked_given {
                xml.within("BlockedEncryptionTypes", |xml| {
                    xml.text("EncryptionType", if self.blocks_customer_keys { "SSE-C" } else { "NONE" });
                });
            }
        });
        xml
    }
}
