//! The keys of rows, and the authenticated form of records: `format (1) || CBOR || HMAC (32)`.

use crate::{
    error::StoreError,
    meta::{PASSING, Partition},
};
use bytes::Bytes;
use minicbor::bytes::ByteSlice;
use tresor_envelope::RecordKey;
use tresor_model::{EventId, ObjectKey, UploadId, WriteId};

const RECORD_FORMAT: u8 = 1;
const MAC: usize = 32;

pub(crate) const OBJECTS: &[u8] = b"o/";
pub(crate) const UPLOADS: &[u8] = b"u/";
pub(crate) const GARBAGE: &[u8] = b"g/";
/// Events whose change is committed, and that the audit trail may not hold yet.
pub(crate) const EVENTS: &[u8] = PASSING;
/// The event of a bucket's deletion, until it is done.
pub(crate) const CLOSING: &[u8] = b"x/";
pub(crate) const BUCKETS: &[u8] = b"b/";

/// Bytes that most records fit.
const TYPICAL: usize = 1024;

/// Encodes a record and authenticates it for its place.
pub fn seal_record<T: minicbor::Encode<()>>(key: &RecordKey, partition: Partition, row: &[u8], record: &T) -> Bytes {
    seal_into(Vec::with_capacity(TYPICAL), key, partition, row, record)
}

/// The record of bytes that have no fields.
pub(crate) fn seal_bytes(key: &RecordKey, partition: Partition, row: &[u8], bytes: &[u8]) -> Bytes {
    // Format, the head of a byte string, the bytes, MAC.
    let room = Vec::with_capacity(1 + 9 + bytes.len() + MAC);
    let bytes: &ByteSlice = bytes.into();
    seal_into(room, key, partition, row, &bytes)
}

fn seal_into<T: minicbor::Encode<()>>(
    mut value: Vec<u8>,
    key: &RecordKey,
    partition: Partition,
    row: &[u8],
    record: &T,
) -> Bytes {
    value.push(RECORD_FORMAT);
    minicbor::encode(record, &mut value).expect("encoding into a Vec cannot fail");
    let mac = key.mac(&partition.0, row, &value);
    value.extend_from_slice(&mac);
    value.into()
}

/// A stored value as what is authenticated, and the MAC. Errors: Corrupt.
pub(crate) fn split(value: &[u8]) -> Result<(&[u8], &[u8; MAC]), StoreError> {
    value.split_last_chunk::<MAC>().ok_or(StoreError::Corrupt("a record is too short"))
}

/// The CBOR of what was authenticated. Errors: Corrupt.
pub(crate) fn cbor(record: &[u8]) -> Result<&[u8], StoreError> {
    match record.split_first() {
        Some((&RECORD_FORMAT, cbor)) => Ok(cbor),
        _ => Err(StoreError::Corrupt("a record has an unknown format")),
    }
}

/// Checks a record without reading it. Errors: Corrupt.
pub fn verify_record(key: &RecordKey, partition: Partition, row: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let (record, mac) = split(value)?;
    Ok(key.verify(&partition.0, row, record, mac)?)
}

/// Checks and decodes what `seal_record` made. Errors: Corrupt.
pub fn open_record<T: for<'b> minicbor::Decode<'b, ()>>(
    key: &RecordKey,
    partition: Partition,
    row: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    let (record, mac) = split(value)?;
    key.verify(&partition.0, row, record, mac)?;
    minicbor::decode(cbor(record)?).map_err(|_| StoreError::Corrupt("an authentic record cannot be decoded"))
}

fn joined(prefix: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut row = prefix.to_vec();
    for piece in pieces {
        row.extend_from_slice(piece);
    }
    row
}

/// Inside a row key: 0x00 becomes 0x00 0xFF, and 0x00 0x01 ends the text, so that the order of rows is the order of texts.
pub(crate) fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for byte in text {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out
}
const TERMINATOR: &[u8] = &[0, 1];

/// Splits what `escaped` and the terminator made: the text and the rest.
pub(crate) fn unescape(row: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::with_capacity(row.len());
    let mut rest = row;
    loop {
        match rest {
            [0, 1, tail @ ..] => return Some((text, tail)),
            [0, 0xff, tail @ ..] => {
                text.push(0);
                rest = tail;
            }
            [0, ..] | [] => return None,
            [byte, tail @ ..] => {
                text.push(*byte);
                rest = tail;
            }
        }
    }
}

pub(crate) fn bucket_state() -> Vec<u8> {
    b"B".to_vec()
}
pub(crate) fn bucket(name: &str) -> Vec<u8> {
    joined(BUCKETS, &[name.as_bytes()])
}
pub(crate) fn object(key: &ObjectKey) -> Vec<u8> {
    joined(OBJECTS, &[key.as_str().as_bytes()])
}
/// A small sealed body.
pub(crate) fn inline(write: &WriteId) -> Vec<u8> {
    joined(b"b/", &[write.as_bytes()])
}
/// Says that a single PUT's blob is in use.
pub(crate) fn blob_owner(owner: &[u8; 16], nonce: &[u8; 8]) -> Vec<u8> {
    joined(b"w/", &[owner, nonce])
}
pub(crate) fn upload(key: &ObjectKey, id: &UploadId) -> Vec<u8> {
    joined(UPLOADS, &[&escaped(key.as_str().as_bytes()), TERMINATOR, id.as_bytes()])
}
pub(crate) fn parts(upload: &UploadId) -> Vec<u8> {
    joined(b"p/", &[upload.as_bytes()])
}
pub(crate) fn part(upload: &UploadId, number: u16) -> Vec<u8> {
    joined(&parts(upload), &[&number.to_be_bytes()])
}
pub(crate) fn garbage(id: &[u8; 16]) -> Vec<u8> {
    joined(GARBAGE, &[id])
}
pub(crate) fn event(id: &EventId) -> Vec<u8> {
    joined(EVENTS, &[id])
}
pub(crate) fn closing(id: &EventId) -> Vec<u8> {
    joined(CLOSING, &[id])
}
pub(crate) fn document(kind: &str) -> Vec<u8> {
    joined(b"d/", &[kind.as_bytes()])
}
/// What hangs on a KMS key: key id, material id, object key.
pub(crate) fn key_use(key_id: &str, material: &str, object: &ObjectKey) -> Vec<u8> {
    let (key_id, material) = (escaped(key_id.as_bytes()), escaped(material.as_bytes()));
    joined(b"k/", &[&key_id, TERMINATOR, &material, TERMINATOR, object.as_str().as_bytes()])
}
/// Objects and bytes under one material of a KMS key.
pub(crate) fn key_count(key_id: &str, material: &str) -> Vec<u8> {
    joined(b"m/", &[&escaped(key_id.as_bytes()), TERMINATOR, material.as_bytes()])
}

/// Every material of a KMS key.
pub(crate) fn key_counts(key_id: &str) -> Vec<u8> {
    joined(b"m/", &[&escaped(key_id.as_bytes()), TERMINATOR])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaping_keeps_order_and_loses_nothing(a in proptest::collection::vec(0_u8..4, 0..6), b in proptest::collection::vec(0_u8..4, 0..6)) {
            let row = |text: &[u8]| joined(&escaped(text), &[TERMINATOR]);
            prop_assert_eq!(row(&a).cmp(&row(&b)), a.cmp(&b));
            let whole = joined(&row(&a), &[&b]);
            prop_assert_eq!(unescape(&whole), Some((a, &b[..])));
        }
    }

    #[test]
    fn a_record_opens_only_whole_and_in_its_place() {
        let key = RecordKey::derive(&[3; 32]);
        let value = seal_record(&key, Partition([1; 16]), b"row", &"text");
        assert_eq!(open_record::<String>(&key, Partition([1; 16]), b"row", &value).unwrap(), "text");
        assert!(open_record::<String>(&key, Partition([2; 16]), b"row", &value).is_err());
        assert!(open_record::<String>(&key, Partition([1; 16]), b"wor", &value).is_err());
        for n in 0..value.len() {
            let mut broken = value.to_vec();
            broken[n] ^= 1;
            assert!(open_record::<String>(&key, Partition([1; 16]), b"row", &broken).is_err(), "byte {n}");
        }
    }
}
