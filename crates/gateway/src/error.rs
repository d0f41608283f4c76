//! S3's errors: code, status, text and the extra elements S3 puts into the XML. The one place where other crates' errors get
//! their S3 code. Sources of the texts: the S3 API reference and answers recorded from AWS.

use crate::xml::XmlWriter;
use http::StatusCode;
use std::fmt;
use tresor_envelope::BodyError;
use tresor_front::{AuthError, BodyFault};
use tresor_kms::KmsError;
use tresor_model::{BucketName, ObjectKey};
use tresor_storage::StoreError;

/// One error answer.
#[derive(Debug)]
pub struct S3Error {
    pub code: &'static str,
    pub status: StatusCode,
    pub message: String,
    /// Further elements of the XML, in order.
    pub details: Vec<(&'static str, String)>,
    /// Further headers of the answer.
    pub headers: Vec<(&'static str, String)>,
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
impl std::error::Error for S3Error {}

pub(crate) const SSE_HEADER: &str = "x-amz-server-side-encryption";

impl S3Error {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }
    pub fn with(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.details.push((element, value.into()));
        self
    }
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
    fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn access_denied() -> Self {
        Self::forbidden("Access Denied")
    }
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::bad("InvalidRequest", message)
    }
    /// `InvalidArgument` with the argument's name and, where S3 shows it, its value.
    pub fn invalid_argument(message: impl Into<String>, name: impl Into<String>, value: Option<&str>) -> Self {
        let error = Self::bad("InvalidArgument", message).with("ArgumentName", name);
        match value {
            Some(value) => error.with("ArgumentValue", value),
            None => error,
        }
    }
    pub fn bad_digest(message: impl Into<String>) -> Self {
        Self::bad("BadDigest", message)
    }
    pub fn invalid_digest() -> Self {
        Self::bad("InvalidDigest", "The Content-MD5 you specified was invalid.")
    }
    pub fn malformed_xml() -> Self {
        Self::bad(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }
    pub fn invalid_tag(message: impl Into<String>) -> Self {
        Self::bad("InvalidTag", message)
    }
    pub fn invalid_bucket_name(name: &str) -> Self {
        Self::bad("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", name)
    }
    pub fn key_too_long(size: usize) -> Self {
        Self::bad("KeyTooLongError", "Your key is too long")
            .with("Size", size.to_string())
            .with("MaxSizeAllowed", ObjectKey::MAX_BYTES.to_string())
    }
    pub fn entity_too_large(proposed: u64, max: u64) -> Self {
        Self::bad("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            .with("ProposedSize", proposed.to_string())
            .with("MaxSizeAllowed", max.to_string())
    }
    pub fn missing_content_length() -> Self {
        Self::new(
            StatusCode::LENGTH_REQUIRED,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        )
    }
    pub fn no_such_bucket(name: &BucketName) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist")
            .with("BucketName", name.as_str())
    }
    pub fn no_such_key(key: &ObjectKey) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.").with("Key", key.as_str())
    }
    pub fn no_such_version(key: &ObjectKey, version: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchVersion", "The specified version does not exist.")
            .with("Key", key.as_str())
            .with("VersionId", version)
    }
    pub fn no_such_upload(upload: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )
        .with("UploadId", upload)
    }
    /// A document that a bucket or object does not have: `NoSuchBucketPolicy` and its like.
    pub fn no_such_document(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }
    pub fn precondition_failed(condition: &'static str) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition)
    }
    pub fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, "NotModified", "Not Modified")
    }
    pub fn invalid_range(asked: &str, length: u64) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The requested range is not satisfiable")
            .with("RangeRequested", asked)
            .with("ActualObjectSize", length.to_string())
            .header("content-range", format!("bytes */{length}"))
    }
    pub fn method_not_allowed(method: &str, resource: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .with("Method", method)
        .with("ResourceType", resource)
    }
    /// An operation of the model that Tresor does not have, by its name.
    pub fn operation_not_implemented(name: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("{name} is not implemented."))
            .with("Operation", name)
    }
    /// A header that would change what is stored and that the operation does not know.
    pub fn header_not_implemented(header: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        )
        .with("Header", header)
    }
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "We encountered an internal error. Please try again.",
        )
    }
    pub fn slow_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
    }
    pub fn operation_aborted() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "OperationAborted",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )
    }

    /// The body of the answer, by S3's error document.
    pub(crate) fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> String {
        let mut xml = XmlWriter::bare("Error");
        xml.text("Code", self.code);
        xml.text("Message", &self.message);
        for (element, value) in &self.details {
            xml.text(element, value);
        }
        if !self.details.iter().any(|(element, _)| *element == "Resource") {
            xml.text("Resource", resource);
        }
        xml.text("RequestId", request_id);
        xml.text("HostId", host_id);
        xml.finish()
    }
}

impl S3Error {
    /// A field that a POST form must have, in front of its file.
    pub fn missing_form_field(name: &'static str) -> Self {
        let message = format!(
            "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
        );
        Self::invalid_argument(message, name, Some(""))
    }
    pub fn malformed_post() -> Self {
        Self::bad("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")
    }
    pub fn entity_too_small(proposed: u64, min: u64) -> Self {
        Self::bad("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
            .with("ProposedSize", proposed.to_string())
            .with("MinSizeAllowed", min.to_string())
    }
}

impl From<BodyFault> for S3Error {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Incomplete | BodyFault::Disconnected => Self::bad(
                "IncompleteBody",
                "You did not provide the number of bytes specified by the Content-Length HTTP header",
            ),
            BodyFault::Sha256Mismatch => Self::bad(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ),
            BodyFault::ChunkSignature => Self::forbidden_signature(),
            BodyFault::Timeout => Self::bad(
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
            BodyFault::TooLarge => Self::bad("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"),
            other => Self::bad("MalformedTrailerError", format!("The request body was not well-formed: {other}")),
        }
    }
}

impl S3Error {
    fn forbidden_signature() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        )
    }
}

/// Texts: the S3 API reference's list of error responses, and answers recorded from AWS.
impl From<AuthError> for S3Error {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::WrongService | AuthError::Anonymous => Self::access_denied(),
            AuthError::BodyTooLarge | AuthError::BodyBroken => {
                Self::bad("IncompleteBody", "The request body terminated unexpectedly")
            }
            AuthError::UnknownAccessKey(id) => Self::new(
                StatusCode::FORBIDDEN,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            )
            .with("AWSAccessKeyId", id),
            AuthError::InvalidToken => {
                Self::bad("InvalidToken", "The provided token is malformed or otherwise invalid.")
            }
            AuthError::ExpiredToken => Self::bad("ExpiredToken", "The provided token has expired."),
            AuthError::SignatureDoesNotMatch { access_key_id, string_to_sign, provided } => Self::forbidden_signature()
                .with("AWSAccessKeyId", access_key_id)
                .with("StringToSign", string_to_sign)
                .with("SignatureProvided", provided),
            AuthError::Skewed { request, now } => Self::new(
                StatusCode::FORBIDDEN,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            )
            .with("RequestTime", request)
            .with("ServerTime", now.iso8601())
            .with("MaxAllowedSkewMilliseconds", "900000"),
            AuthError::Expired { expires, now } => Self::forbidden("Request has expired")
                .with("Expires", expires.iso8601())
                .with("ServerTime", now.iso8601()),
            AuthError::HeadersNotSigned(names) => {
                Self::forbidden("There were headers present in the request which were not signed")
                    .with("HeadersNotSigned", names.join(", "))
            }
            AuthError::MissingDate => {
                Self::forbidden("AWS authentication requires a valid Date or x-amz-date header")
            }
            AuthError::MalformedHeader(what) => Self::bad("AuthorizationHeaderMalformed", what),
            AuthError::MalformedQuery(what) => Self::bad("AuthorizationQueryParametersError", what),
            AuthError::TwoMechanisms => Self::bad(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
            )
            .with("ArgumentName", "Authorization"),
            AuthError::UnsupportedMechanism => Self::invalid_request(
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ),
            AuthError::InvalidContentSha256(value) => Self::invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                "x-amz-content-sha256",
                Some(&value),
            ),
            AuthError::MissingContentSha256 => {
                Self::invalid_request("Missing required header for this request: x-amz-content-sha256")
            }
            AuthError::NotImplementedPayload(_) => Self::header_not_implemented("x-amz-content-sha256"),
            AuthError::MissingDecodedLength => Self::missing_content_length(),
            AuthError::MissingFormField(name) => Self::missing_form_field(name),
            AuthError::InvalidFormField { name, value, message } => Self::invalid_argument(message, name, Some(&value)),
        }
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Source(source) => match source.downcast::<Self>() {
                Ok(own) => *own,
                Err(source) => {
                    tracing::error!(error = %source, "a request body failed in an unknown way");
                    Self::internal()
                }
            },
            other => {
                tracing::error!(error = %other, "sealing a request body failed");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Body(body) => body.into(),
            StoreError::PreconditionFailed => Self::precondition_failed("If-None-Match"),
            StoreError::Conflict => Self::operation_aborted(),
            StoreError::Busy | StoreError::Overtaken => Self::slow_down(),
            StoreError::BucketNotEmpty => {
                Self::new(StatusCode::CONFLICT, "BucketNotEmpty", "The bucket you tried to delete is not empty")
            }
            StoreError::BucketExists { .. } => Self::new(
                StatusCode::CONFLICT,
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the system. \
                 Please select a different name and try again.",
            ),
            StoreError::NoSuchBucket => {
                Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist")
            }
            StoreError::NoSuchKey => Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist."),
            StoreError::NoSuchUpload => Self::new(
                StatusCode::NOT_FOUND,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
                 completed.",
            ),
            StoreError::InvalidPart(number) => Self::bad(
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag.",
            )
            .with("PartNumber", number.to_string()),
            StoreError::InvalidPartOrder => Self::bad(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ),
            StoreError::EntityTooSmall { number, size, minimum } => {
                Self::bad("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
                    .with("ProposedSize", size.to_string())
                    .with("MinSizeAllowed", minimum.to_string())
                    .with("PartNumber", number.to_string())
            }
            other => {
                tracing::error!(error = %other, "the store failed");
                Self::internal()
            }
        }
    }
}

/// KMS errors as S3 shows them: `KMS.` before the KMS code, always 400 where KMS itself says 400.
impl From<KmsError> for S3Error {
    fn from(error: KmsError) -> Self {
        let message = error.to_string();
        match error {
            KmsError::NotFound(_) | KmsError::InvalidKeyId(_) => Self::bad("KMS.NotFoundException", message),
            KmsError::Disabled(_) => Self::bad("KMS.DisabledException", message),
            KmsError::InvalidState(..) => Self::bad("KMS.KMSInvalidStateException", message),
            // The long text is for callers of the key's own account; others learn nothing about the key.
            KmsError::AccessDenied(_)
                if message.starts_with("User: ") && !message.contains("does not exist in this Region") =>
            {
                Self::forbidden(message)
            }
            KmsError::AccessDenied(_) => Self::access_denied(),
            KmsError::InvalidKeyUsage(_) => Self::bad("KMS.InvalidKeyUsageException", message),
            KmsError::WrongCustomerKey => Self::forbidden(
                "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
            ),
            KmsError::Unavailable(_) => {
                tracing::error!(error = %message, "a key could not be used");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "Service is unable to handle request.")
            }
            _ => {
                tracing::error!(error = %message, "the key ring failed");
                Self::internal()
            }
        }
    }
}
