//! What the client promised about a body, and the body held against it while it streams. A body that breaks a promise fails at its
//! end, before anything is stored.

use crate::{error::S3Error, fields::Fields, post::FormFile};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex};
use tresor_digest::{DigestPlan, Digester, Digests, Kernel, Md5Body, Md5Pool};
use tresor_envelope::{BodyError, PlainBody, PlainSource};
use tresor_front::{Body, Headers};
use tresor_model::{Checksum, ChecksumAlgorithm};

/// What S3 keeps for an object whose uploader named no checksum (since December 2024).
pub(crate) const DEFAULT_CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

/// Checksums of one text.
pub(crate) type Checksums = Vec<(ChecksumAlgorithm, Vec<u8>)>;

/// The digests a request promises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations {
    md5: Option<[u8; 16]>,
    checksum: Option<Promise>,
    /// `x-amz-sdk-checksum-algorithm` or `x-amz-checksum-algorithm` without a value.
    named: Option<ChecksumAlgorithm>,
}

#[derive(Clone, Debug)]
enum Promise {
    Value(Checksum),
    Trailer(ChecksumAlgorithm),
}

impl Promise {
    fn algorithm(&self) -> ChecksumAlgorithm {
        match self {
            Self::Value(checksum) => checksum.algorithm,
            Self::Trailer(algorithm) => *algorithm,
        }
    }
}

impl Expectations {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Takes `Content-MD5`, the checksum headers and the announced trailer out of a header map.
    /// Errors: InvalidDigest, InvalidRequest for several checksums or one that cannot be read.
    pub(crate) fn take(headers: &mut Headers) -> Result<Self, S3Error> {
        let mut take = |name: &str| headers.take(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        Self::read(&mut |name| Ok(take(name)))
    }

    pub(crate) fn take_from(fields: &mut Fields) -> Result<Self, S3Error> {
        Self::read(&mut |name| fields.take(name))
    }

    fn read(take: &mut dyn FnMut(&str) -> Result<Option<String>, S3Error>) -> Result<Self, S3Error> {
        let md5 = match take("content-md5")? {
            None => None,
            Some(text) => {
                let bytes = STANDARD.decode(text.trim()).map_err(|_| S3Error::invalid_digest())?;
                Some(<[u8; 16]>::try_from(bytes).map_err(|_| S3Error::invalid_digest())?)
            }
        };
        let named =
            match take("x-amz-sdk-checksum-algorithm")? {
                Some(text) => Some(text.parse().map_err(|_| {
                    S3Error::invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
                })?),
                None => None,
            };
        let mut checksum = None;
        for algorithm in ChecksumAlgorithm::ALL {
            let Some(text) = take(algorithm.header())? else { continue };
            let value = STANDARD.decode(text.trim()).ok().filter(|value| value.len() == algorithm.length());
            let value = value.ok_or_else(|| {
                S3Error::invalid_request(format!("Value for {} header is invalid.", algorithm.header()))
            })?;
            if checksum.replace(Promise::Value(Checksum { algorithm, value })).is_some() {
                return Err(S3Error::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        }
        if let Some(names) = take("x-amz-trailer")? {
            for name in names.split(',').map(str::trim) {
                let Some(algorithm) =
                    ChecksumAlgorithm::ALL.into_iter().find(|a| a.header().eq_ignore_ascii_case(name))
                else {
                    return Err(S3Error::invalid_request(
                        "The value specified in the x-amz-trailer header is not supported",
                    ));
                };
                if checksum.replace(Promise::Trailer(algorithm)).is_some() {
                    return Err(S3Error::invalid_request(
                        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                    ));
                }
            }
        }
        if let (Some(promise), Some(named)) = (&checksum, named)
            && promise.algorithm() != named
        {
            return Err(S3Error::invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid."));
        }
        Ok(Self { md5, checksum, named })
    }

    /// The algorithm whose checksum the client gave, announced, or named.
    pub(crate) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.as_ref().map(Promise::algorithm).or(self.named)
    }
    /// The client sent a digest of the body: `Content-MD5` or a checksum.
    pub(crate) fn has_digest(&self) -> bool {
        self.md5.is_some() || self.checksum.is_some()
    }

    /// What must be computed: the promises, MD5 where an ETag needs it, and the checksum that is kept.
    fn plan(&self, etag_is_md5: bool, keep: Option<ChecksumAlgorithm>) -> DigestPlan {
        let mut checksums: Vec<ChecksumAlgorithm> = self.checksum.iter().map(Promise::algorithm).collect();
        checksums.extend(keep.filter(|algorithm| !checksums.contains(algorithm)));
        DigestPlan { md5: etag_is_md5 || self.md5.is_some(), sha256: false, checksums }
    }

    /// Holds what was computed against what was promised.
    fn verify(&self, digests: &Digests, trailers: &[(String, String)]) -> Result<(), S3Error> {
        if let Some(promised) = &self.md5
            && digests.md5.as_ref() != Some(promised)
        {
            return Err(S3Error::bad_digest("The Content-MD5 you specified did not match what we received."));
        }
        let promised = match &self.checksum {
            None => return Ok(()),
            Some(Promise::Value(checksum)) => checksum.clone(),
            Some(Promise::Trailer(algorithm)) => {
                let invalid = || {
                    S3Error::invalid_request(format!("Value for {} trailing header is invalid.", algorithm.header()))
                };
                let (_, text) = trailers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(algorithm.header()))
                    .ok_or_else(|| S3Error::new(
                        http::StatusCode::BAD_REQUEST,
                        "MalformedTrailerError",
                        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                    ))?;
                let value = STANDARD.decode(text.trim()).ok().filter(|value| value.len() == algorithm.length());
                Checksum { algorithm: *algorithm, value: value.ok_or_else(invalid)? }
            }
        };
        let computed = digests.checksums.iter().find(|(algorithm, _)| *algorithm == promised.algorithm);
        if computed.is_some_and(|(_, value)| *value == promised.value) {
            Ok(())
        } else {
            let name = promised.algorithm.name();
            Err(S3Error::bad_digest(format!("The {name} you specified did not match the calculated checksum.")))
        }
    }
}

/// Reads a body whole: documents, and the bodies nobody expects.
/// Errors: those of the body, `MaxMessageLengthExceeded`, broken promises.
pub(crate) async fn read_whole(body: &mut Body, expected: Expectations, limit: usize) -> Result<Bytes, S3Error> {
    let mut digester = Digester::new(&expected.plan(false, None), Kernel::Scalar);
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await? {
        if whole.len() + piece.len() > limit {
            return Err(S3Error::new(
                http::StatusCode::BAD_REQUEST,
                "MaxMessageLengthExceeded",
                "Your request was too big.",
            )
            .with("MaxMessageLengthBytes", limit.to_string()));
        }
        digester.update(&piece);
        whole.extend_from_slice(&piece);
    }
    expected.verify(&digester.finish(), body.trailers())?;
    Ok(whole.freeze())
}

/// Where an upload comes from: the body of its request, or the file in a form.
pub(crate) enum Arriving {
    Body(Body),
    File(FormFile),
}

impl From<Body> for Arriving {
    fn from(body: Body) -> Self {
        Self::Body(body)
    }
}
impl From<FormFile> for Arriving {
    fn from(file: FormFile) -> Self {
        Self::File(file)
    }
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        match self {
            Self::Body(body) => Ok(body.next().await?),
            Self::File(file) => file.next().await,
        }
    }
    fn trailers(&self) -> &[(String, String)] {
        match self {
            Self::Body(body) => body.trailers(),
            Self::File(_) => &[],
        }
    }
    /// If it is known before the end.
    fn declared_len(&self) -> Option<u64> {
        match self {
            Self::Body(body) => body.declared_len(),
            Self::File(_) => None,
        }
    }
}

/// From this length on, in bytes, a body's MD5 is taken beside its receipt; a shorter one is hashed sooner than handed over.
const BESIDE_FROM: u64 = 128 * 1024;

/// The digests of a body while it passes.
struct Passing {
    digester: Digester,
    md5: Option<Md5Body>,
}

impl Passing {
    /// `pool` where the entity tag must be the MD5; `length` if it is known.
    fn new(
        expected: &Expectations,
        pool: Option<&Md5Pool>,
        keep: Option<ChecksumAlgorithm>,
        length: Option<u64>,
    ) -> Self {
        let mut plan = expected.plan(pool.is_some(), keep);
        let beside = plan.md5 && length.is_none_or(|length| length >= BESIDE_FROM);
        let md5 = pool.filter(|_| beside).map(Md5Pool::body);
        plan.md5 &= md5.is_none();
        let kernel = pool.map_or(Kernel::Scalar, Md5Pool::kernel);
        Self { digester: Digester::new(&plan, kernel), md5 }
    }

    async fn update(&mut self, piece: &Bytes) {
        if let Some(md5) = &self.md5 {
            md5.update(piece.clone()).await;
        }
        self.digester.update(piece);
    }

    /// Errors: InternalError when the hashing thread is gone.
    async fn finish(self) -> Result<Digests, S3Error> {
        let mut digests = self.digester.finish();
        if let Some(md5) = self.md5 {
            digests.md5 = Some(md5.finish().await.ok_or_else(S3Error::internal)?);
        }
        Ok(digests)
    }
}

/// The plaintext of an upload on its way to being sealed.
pub(crate) struct Upload {
    body: Arriving,
    expected: Expectations,
    digester: Option<Passing>,
    digests: Digests,
    shared: DigestsLater,
    least: u64,
    limit: u64,
    seen: u64,
}

/// The digests of an upload, known once its body has been stored.
#[derive(Clone, Default)]
pub(crate) struct DigestsLater(Arc<Mutex<Option<Digests>>>);

impl DigestsLater {
    pub(crate) fn get(&self) -> Option<Digests> {
        self.0.lock().ok()?.clone()
    }
    fn set(&self, digests: &Digests) {
        if let Ok(mut shared) = self.0.lock() {
            *shared = Some(digests.clone());
        }
    }
}

impl Upload {
    /// `md5` where the entity tag must be one; `limit` is the largest body, in bytes; `keep` the checksum to store with the object.
    pub(crate) fn new(
        body: impl Into<Arriving>,
        expected: Expectations,
        md5: Option<&Md5Pool>,
        keep: Option<ChecksumAlgorithm>,
        limit: u64,
    ) -> (Self, DigestsLater) {
        let shared = DigestsLater::default();
        let body = body.into();
        let digester = Some(Passing::new(&expected, md5, keep, body.declared_len()));
        let upload = Self {
            body,
            expected,
            digester,
            digests: Digests::default(),
            shared: shared.clone(),
            least: 0,
            limit,
            seen: 0,
        };
        (upload, shared)
    }

    /// The smallest body, in bytes.
    pub(crate) fn at_least(mut self, least: u64) -> Self {
        self.least = least;
        self
    }

    async fn pull(&mut self) -> Result<Option<Bytes>, S3Error> {
        match self.body.next().await? {
            Some(piece) => {
                self.seen += piece.len() as u64;
                if self.seen > self.limit {
                    return Err(S3Error::entity_too_large(self.seen, self.limit));
                }
                if let Some(digester) = &mut self.digester {
                    digester.update(&piece).await;
                }
                Ok(Some(piece))
            }
            None if self.seen < self.least => Err(S3Error::entity_too_small(self.seen, self.least)),
            None => {
                if let Some(digester) = self.digester.take() {
                    self.digests = digester.finish().await?;
                    self.expected.verify(&self.digests, self.body.trailers())?;
                    self.shared.set(&self.digests);
                }
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl PlainSource for Upload {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.pull().await.map_err(|error| BodyError::Source(Box::new(error)))
    }
    fn digests(&mut self) -> Digests {
        self.digests.clone()
    }
}

/// The plaintext of a stored object on its way to being sealed anew.
pub(crate) struct Relay {
    plain: PlainBody,
    digester: Option<Passing>,
    digests: Digests,
    shared: DigestsLater,
}

impl Relay {
    pub(crate) fn new(
        plain: PlainBody,
        md5: Option<&Md5Pool>,
        keep: Option<ChecksumAlgorithm>,
    ) -> (Self, DigestsLater) {
        let shared = DigestsLater::default();
        let digester = Some(Passing::new(&Expectations::none(), md5, keep, None));
        (Self { plain, digester, digests: Digests::default(), shared: shared.clone() }, shared)
    }
}

#[async_trait]
impl PlainSource for Relay {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let piece = self.plain.next().await.map_err(|error| {
            tracing::error!(%error, "the source of a copy failed to open");
            BodyError::Source(Box::new(S3Error::internal()))
        })?;
        match (&piece, &mut self.digester) {
            (Some(piece), Some(digester)) => digester.update(piece).await,
            (None, Some(_)) => {
                if let Some(digester) = self.digester.take() {
                    self.digests = digester.finish().await.map_err(|error| BodyError::Source(Box::new(error)))?;
                    self.shared.set(&self.digests);
                }
            }
            (_, None) => {}
        }
        Ok(piece)
    }
    fn digests(&mut self) -> Digests {
        self.digests.clone()
    }
}
