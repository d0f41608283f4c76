//! The MAC of a metadata record, bound to where the record lies. docs/format.md section "Records".

use crate::{EnvelopeError, envelope::push_prefixed, primitive::derive};
use aws_lc_rs::{constant_time, hmac};
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

    fn tag(&self, partition: &[u8], row: &[u8], record: &[u8]) -> hmac::Tag {
        let mut place = Vec::with_capacity(64 + partition.len() + row.len());
        place.extend_from_slice(b"tresor/v1/record");
        push_prefixed(&mut place, partition);
        push_prefixed(&mut place, row);
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&place);
        context.update(record);
        context.sign()
    }

    /// HMAC-SHA256 over the place and the record.
    pub fn mac(&self, partition: &[u8], row: &[u8], record: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.tag(partition, row, record).as_ref());
        out
    }

    /// Compares in constant time. Errors: NotAuthentic.
    pub fn verify(&self, partition: &[u8], row: &[u8], record: &[u8], mac: &[u8]) -> Result<(), EnvelopeError> {
        constant_time::verify_slices_are_equal(self.tag(partition, row, record).as_ref(), mac)
            .map_err(|_| EnvelopeError::NotAuthentic)
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
