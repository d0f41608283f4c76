//! The vectors of docs/format.md, good and broken. `TRESOR_WRITE_VECTORS=1 cargo test -p tresor-envelope --test vectors` writes
//! them anew after the format changed; tests/test_vectors.py opens the same file with another library.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{fs, io, ops::Range, path::PathBuf};
use tresor_digest::Digests;
use tresor_envelope::{
    Binding, BodyError, CipherSource, CipherStream, DataKey, Envelope, Header, IndexKey, OwnedLayer, PartParams,
    PlainSource, RecordKey, SealedPart, SseMode, WrappedKeys, open, owned_aad, seal, unwrap, wrap,
};
use tresor_model::{BucketId, Entropy, WriteId};

/// Everything in hex.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vectors {
    header: Vec<HeaderVector>,
    binding: String,
    wrap: WrapVector,
    etag: EtagVector,
    record: RecordVector,
    owned: Vec<OwnedVector>,
    bodies: Vec<BodyVector>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HeaderVector {
    mode: u8,
    key_arn: String,
    hash: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct WrapVector {
    kek: String,
    aad: String,
    secret: String,
    wrapped: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct EtagVector {
    index_root: String,
    bucket: String,
    tweak: String,
    digest: String,
    sealed: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RecordVector {
    root: String,
    partition: String,
    row: String,
    record: String,
    mac: String,
}

/// An envelope as it lies in a row, and the key that opens what its owned key wrapped.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OwnedVector {
    name: String,
    /// CBOR.
    envelope: String,
    binding: String,
    /// Nothing for what was written before there were owned keys.
    material: Option<String>,
    kek: String,
    outer: bool,
    data_key: String,
}

/// A sealed part: its plaintext is `length` bytes, byte n being 7n mod 256.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BodyVector {
    name: String,
    opens: bool,
    mode: u8,
    key_arn: String,
    data_key: String,
    outer_key: Option<String>,
    commitment: String,
    number: u16,
    salt: String,
    stream: String,
    length: u64,
    sealed: String,
}

#[derive(Debug)]
struct Constant;
impl Entropy for Constant {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0xc5);
    }
}

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555";
const MODES: [(u8, SseMode, &str); 5] = [
    (1, SseMode::S3, ""),
    (2, SseMode::Kms, ARN),
    (3, SseMode::KmsBucketKey, ARN),
    (4, SseMode::Dsse, ARN),
    (5, SseMode::Customer, ""),
];

struct Once(Option<Bytes>);
#[async_trait]
impl PlainSource for Once {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        Ok(self.0.take())
    }
    fn digests(&mut self) -> Digests {
        Digests::default()
    }
}

struct Held(Bytes);
#[async_trait]
impl CipherSource for Held {
    async fn read(&mut self, _: usize, range: Range<u64>, _: usize) -> io::Result<CipherStream> {
        let end = (range.end as usize).min(self.0.len());
        let piece = self.0.slice((range.start as usize).min(end)..end);
        Ok(CipherStream::new(futures_util::stream::iter([Ok(piece)])))
    }
}

fn plain(length: u64) -> Vec<u8> {
    (0..length).map(|n| (n * 7) as u8).collect()
}

fn assemble(mode: SseMode, arn: &str) -> (tresor_envelope::ContentKey, Envelope) {
    let outer = (mode == SseMode::Dsse).then(|| DataKey::from_bytes([0x22; 32]));
    let keys = WrappedKeys { outer_wrapped: outer.is_some().then(Vec::new), ..WrappedKeys::default() };
    Envelope::assemble(Header::new(mode, arn), DataKey::from_bytes([0x11; 32]), outer, keys, Vec::new()).unwrap()
}

async fn body(id: u8, mode: SseMode, arn: &str, number: u16, length: u64) -> BodyVector {
    let (key, envelope) = assemble(mode, arn);
    let params = PartParams { number, salt: [0x33; 32], stream: [0x44; 16] };
    let mut sealed = seal(key, &envelope.header, params, Box::new(Once(Some(plain(length).into()))));
    let mut all = Vec::new();
    while let Some(chunk) = sealed.next().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    BodyVector {
        name: format!("mode {id}, {length} bytes"),
        opens: true,
        mode: id,
        key_arn: arn.into(),
        data_key: hex::encode([0x11; 32]),
        outer_key: (mode == SseMode::Dsse).then(|| hex::encode([0x22; 32])),
        commitment: hex::encode(envelope.commitment),
        number,
        salt: hex::encode(params.salt),
        stream: hex::encode(params.stream),
        length,
        sealed: hex::encode(all),
    }
}

/// The same vector with something broken.
fn broken(of: &BodyVector, how: &str, change: impl FnOnce(&mut BodyVector, &mut Vec<u8>)) -> BodyVector {
    let mut vector = BodyVector {
        name: format!("{}: {how}", of.name),
        opens: false,
        key_arn: of.key_arn.clone(),
        data_key: of.data_key.clone(),
        outer_key: of.outer_key.clone(),
        commitment: of.commitment.clone(),
        salt: of.salt.clone(),
        stream: of.stream.clone(),
        sealed: String::new(),
        ..*of
    };
    let mut sealed = hex::decode(&of.sealed).unwrap();
    change(&mut vector, &mut sealed);
    vector.sealed = hex::encode(sealed);
    vector
}

async fn make() -> Vectors {
    let mut bodies = Vec::new();
    for (id, mode, arn) in MODES {
        bodies.push(body(id, mode, arn, 1, 0).await);
        bodies.push(body(id, mode, arn, 7, 21).await);
    }
    let chunk = 65_536 + 16;
    let two = body(1, SseMode::S3, "", 1, 65_536 + 100).await;
    bodies.push(broken(&two, "cut at the chunk border", |v, sealed| {
        sealed.truncate(chunk);
        v.length = 65_536;
    }));
    bodies.push(broken(&two, "chunks swapped", |_, sealed| {
        let (first, last) = (sealed[..chunk].to_vec(), sealed[chunk..].to_vec());
        *sealed = [last, first].concat();
    }));
    bodies.push(two);
    for (id, mode, arn) in MODES {
        let good = body(id, mode, arn, 3, 5).await;
        bodies.push(broken(&good, "a bit flipped", |_, sealed| sealed[2] ^= 1));
        bodies.push(broken(&good, "a bit of the tag flipped", |_, sealed| *sealed.last_mut().unwrap() ^= 0x80));
        bodies.push(broken(&good, "empty", |_, sealed| sealed.clear()));
        bodies.push(broken(&good, "another part", |v, _| v.number = 4));
        bodies.push(broken(&good, "another salt", |v, _| v.salt = hex::encode([0x34; 32])));
        bodies.push(broken(&good, "another stream", |v, _| v.stream = hex::encode([0x45; 16])));
        bodies.push(broken(&good, "another key ARN", |v, _| v.key_arn = format!("{ARN}0")));
        bodies.push(broken(&good, "another data key", |v, _| v.data_key = hex::encode([0x12; 32])));
    }
    let key: tresor_model::ObjectKey = "dir/ü".parse().unwrap();
    let binding = Binding { bucket: BucketId::from_bytes([1; 16]), key, write: WriteId::from_bytes([2; 16]) };
    Vectors {
        header: MODES
            .iter()
            .map(|(id, mode, arn)| HeaderVector {
                mode: *id,
                key_arn: (*arn).into(),
                hash: hex::encode(Header::new(*mode, *arn).hash()),
            })
            .collect(),
        binding: hex::encode(binding.digest(&Header::new(SseMode::Kms, ARN))),
        wrap: WrapVector {
            kek: hex::encode([5; 32]),
            aad: hex::encode(b"here"),
            secret: hex::encode([6; 32]),
            wrapped: hex::encode(wrap(&[5; 32], &Constant, b"here", &[6; 32])),
        },
        etag: EtagVector {
            index_root: hex::encode([7; 32]),
            bucket: hex::encode([1; 16]),
            tweak: hex::encode([2; 16]),
            digest: hex::encode([8; 16]),
            sealed: hex::encode(IndexKey::derive(&[7; 32], &[1; 16]).seal(&[2; 16], &[8; 16])),
        },
        record: RecordVector {
            root: hex::encode([9; 32]),
            partition: hex::encode([1; 16]),
            row: hex::encode(b"o/key"),
            record: hex::encode(b"\x01record"),
            mac: hex::encode(RecordKey::derive(&[9; 32]).mac(&[1; 16], b"o/key", b"\x01record")),
        },
        owned: vec![
            owned("SSE-S3", SseMode::S3, Some([0x53; 32])),
            owned("DSSE", SseMode::Dsse, Some([0x53; 32])),
            owned("SSE-S3 before owned keys", SseMode::S3, None),
            owned("DSSE before owned keys", SseMode::Dsse, None),
        ],
        bodies,
    }
}

fn owned(name: &str, mode: SseMode, material: Option<[u8; 32]>) -> OwnedVector {
    let (kek, binding, outer) = ([0x51; 32], [0x52; 32], mode == SseMode::Dsse);
    let layer = if outer { OwnedLayer::Outer } else { OwnedLayer::Only };
    let aad = match &material {
        Some(id) => owned_aad(id, layer, &binding),
        None if outer => [&b"tresor/v1/outer"[..], &binding].concat(),
        None => binding.to_vec(),
    };
    let secret = if outer { [0x22; 32] } else { [0x11; 32] };
    let sealed = wrap(&kek, &Constant, &aad, &secret);
    let keys = WrappedKeys {
        wrapped: if outer { b"by KMS".to_vec() } else { sealed.clone() },
        outer_wrapped: outer.then_some(sealed),
        owned_material: material,
        ..WrappedKeys::default()
    };
    let arn = if outer { ARN } else { "" };
    let second = outer.then(|| DataKey::from_bytes([0x22; 32]));
    let header = Header::new(mode, arn);
    let (_, envelope) = Envelope::assemble(header, DataKey::from_bytes([0x11; 32]), second, keys, Vec::new()).unwrap();
    OwnedVector {
        name: name.into(),
        envelope: hex::encode(minicbor::to_vec(&envelope).unwrap()),
        binding: hex::encode(binding),
        material: material.map(hex::encode),
        kek: hex::encode(kek),
        outer,
        data_key: hex::encode(secret),
    }
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Opens a vector from its fields alone.
async fn opened(vector: &BodyVector) -> Option<Vec<u8>> {
    let mode = MODES.iter().find(|(id, ..)| *id == vector.mode).unwrap().1;
    let inner = || DataKey::from_bytes(bytes(&vector.data_key));
    let outer = || vector.outer_key.as_ref().map(|key| DataKey::from_bytes(bytes(key)));
    let header = Header::new(mode, vector.key_arn.clone());
    let keys = WrappedKeys { outer_wrapped: outer().is_some().then(Vec::new), ..WrappedKeys::default() };
    let (_, mut envelope) = Envelope::assemble(header.clone(), inner(), outer(), keys, Vec::new()).ok()?;
    envelope.commitment = bytes(&vector.commitment);
    let key = envelope.unlock(inner(), outer()).ok()?;
    let part = SealedPart {
        number: vector.number,
        salt: bytes(&vector.salt),
        stream: bytes(&vector.stream),
        length: vector.length,
    };
    let source = Box::new(Held(hex::decode(&vector.sealed).unwrap().into()));
    let mut body = open(key, &header, vec![part], 0..vector.length, source).ok()?;
    let mut all = Vec::new();
    loop {
        match body.next().await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return Some(all),
            Err(_) => return None,
        }
    }
}

#[tokio::test]
async fn the_vectors_are_what_this_code_writes_and_reads() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors.json");
    let made = make().await;
    if std::env::var_os("TRESOR_WRITE_VECTORS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let stored: Vectors = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(stored == made, "what is written today is not what the vectors hold");
    assert!(stored.bodies.iter().filter(|vector| !vector.opens).count() >= 40);
    for vector in &stored.bodies {
        let expected = vector.opens.then(|| plain(vector.length));
        assert!(opened(vector).await == expected, "{}", vector.name);
    }
    for vector in &stored.owned {
        let envelope: Envelope = minicbor::decode(&hex::decode(&vector.envelope).unwrap()).unwrap();
        assert_eq!(envelope.owned_material.map(hex::encode), vector.material, "{}", vector.name);
    }
    let wrapped = hex::decode(&stored.wrap.wrapped).unwrap();
    assert_eq!(unwrap(&bytes(&stored.wrap.kek), b"here", &wrapped).unwrap().as_slice(), [6; 32]);
}
