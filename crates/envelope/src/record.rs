//! The MAC of a metadata record, bound to where the record lies. docs/format.md section "Records".

use crate::{EnvelopeError, envelope::push_prefixed, primitive::derive};
use aws_lc_rs::hmac;
use std::fmt;

/// The server-held key that authenticates metadata records.
pub struct RecordKey(hmac::Key);

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey")
    }
}

impl RecordKey {
    /// From the store's domain key.
    pub fn derive(root: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &derive(root, &[], &[b"tresor/v1/record-key"])[..]))
    }

    fn message(partition: &[u8], row: &[u8], record: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(32 + partition.len() + row.len() + record.len());
        message.extend_from_slice(b"tresor/v1/record");
        push_prefixed(&mut message, partition);
        push_prefixed(&mut message, row);
        message.extend_from_slice(record);
        message
    }

    /// HMAC-SHA256 over the place and the record.
    pub fn mac(&self, partition: &[u8], row: &[u8], record: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.0, &Self::message(partition, row, record));
        let mut out = [0; 32];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Compares in constant time. Errors: NotAuthentic.
    pub fn verify(&self, partition: &[u8], row: &[u8], record: &[u8], mac: &[u8]) -> Result<(), EnvelopeError> {
        hmac::verify(&self.0, &Self::message(partition, row, record), mac).map_err(|_| EnvelopeError::NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_authentic_in_its_place_only() {
        let key = RecordKey::derive(&[1; 32]);
        let mac = key.mac(b"bucket", b"row", b"record");
        assert!(key.verify(b"bucket", b"row", b"record", &mac).is_ok());
        for (partition, row, record) in [
            (&b"bucke"[..], &b"trow"[..], &b"record"[..]),
            (b"bucket", b"rowr", b"ecord"),
            (b"bucket", b"row", b"recor"),
        ] {
            assert!(key.verify(partition, row, record, &mac).is_err());
        }
        assert!(RecordKey::derive(&[2; 32]).verify(b"bucket", b"row", b"record", &mac).is_err());
    }
}
