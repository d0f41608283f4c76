//! The MAC of a metadata record, bound to where the record lies. docs/format.md section "Records".

use crate::{EnvelopeError, envelope::push_prefixed, primitive::derive};
use aws_lc_rs::{constant_time, hmac};
use std::{array, fmt};
use tresor_digest::{HmacLanes, LANES};

const LABEL: &[u8] = b"tresor/v1/record";
/// Bytes of a MAC.
const MAC: usize = 32;

/// The server-held key that authenticates metadata records.
pub struct RecordKey {
    key: hmac::Key,
    /// Where the machine can check several records at once.
    lanes: Option<HmacLanes>,
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey")
    }
}

impl RecordKey {
    /// From the store's domain key.
    pub fn derive(root: &[u8; 32]) -> Self {
        let key = derive(root, &[], &[b"tresor/v1/record-key"]);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key[..]), lanes: HmacLanes::new(&key) }
    }

    fn tag(&self, partition: &[u8], row: &[u8], record: &[u8]) -> hmac::Tag {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_be_bytes();
        let mut context = hmac::Context::with_key(&self.key);
        for piece in [LABEL, &length(partition), partition, &length(row), row, record] {
            context.update(piece);
        }
        context.sign()
    }

    /// HMAC-SHA256 over the place and the record.
    pub fn mac(&self, partition: &[u8], row: &[u8], record: &[u8]) -> [u8; MAC] {
        let mut out = [0; MAC];
        out.copy_from_slice(self.tag(partition, row, record).as_ref());
        out
    }

    /// Compares in constant time. Errors: NotAuthentic.
    pub fn verify(&self, partition: &[u8], row: &[u8], record: &[u8], mac: &[u8]) -> Result<(), EnvelopeError> {
        same(self.tag(partition, row, record).as_ref(), mac)
    }

    /// Checks the records of a group, as `verify` does each; rows and records in the order in which they were added. Errors:
    /// NotAuthentic.
    pub fn open_group<'g>(
        &self,
        group: &'g RecordGroup,
    ) -> Result<impl Iterator<Item = (&'g [u8], &'g [u8])> + use<'g>, EnvelopeError> {
        let held = &group.slots[..group.filled];
        match &self.lanes {
            Some(lanes) => {
                let mut messages: [&[u8]; LANES] = [&[]; LANES];
                for (message, held) in messages.iter_mut().zip(held) {
                    *message = &held.message;
                }
                let tags = lanes.tags(messages);
                held.iter().zip(tags).try_for_each(|(held, tag)| same(&tag, &held.mac))?;
            }
            None => held.iter().try_for_each(|held| same(hmac::sign(&self.key, &held.message).as_ref(), &held.mac))?,
        }
        Ok(held.iter().map(|held| held.message[held.row_begins..].split_at(held.record_begins - held.row_begins)))
    }
}

/// In constant time.
fn same(tag: &[u8], mac: &[u8]) -> Result<(), EnvelopeError> {
    constant_time::verify_slices_are_equal(tag, mac).map_err(|_| EnvelopeError::NotAuthentic)
}

/// A few records of one partition that are checked together. Buffers are kept from group to group.
pub struct RecordGroup {
    /// What the MAC of every record begins with.
    place: Vec<u8>,
    slots: [Held; LANES],
    filled: usize,
}

/// One record, copied.
#[derive(Default)]
struct Held {
    /// What its MAC is over: the place, the row, the record.
    message: Vec<u8>,
    row_begins: usize,
    record_begins: usize,
    mac: [u8; MAC],
}

impl RecordGroup {
    pub fn new(partition: &[u8]) -> Self {
        let mut place = LABEL.to_vec();
        push_prefixed(&mut place, partition);
        Self { place, slots: array::from_fn(|_| Held::default()), filled: 0 }
    }
    /// Adds a record to a group that is not full.
    pub fn add(&mut self, row: &[u8], record: &[u8], mac: &[u8; MAC]) {
        let held = &mut self.slots[self.filled];
        self.filled += 1;
        held.message.clear();
        held.message.extend_from_slice(&self.place);
        push_prefixed(&mut held.message, row);
        held.record_begins = held.message.len();
        held.row_begins = held.record_begins - row.len();
        held.message.extend_from_slice(record);
        held.mac = *mac;
    }
    pub fn is_full(&self) -> bool {
        self.filled == LANES
    }
    pub fn clear(&mut self) {
        self.filled = 0;
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

    #[test]
    fn a_group_is_authentic_if_each_of_its_records_is() {
        let key = RecordKey::derive(&[1; 32]);
        let records: Vec<Vec<u8>> = (0..LANES).map(|n| vec![n as u8; 60 + 100 * n]).collect();
        let single = RecordKey { lanes: None, ..RecordKey::derive(&[1; 32]) };
        for count in 0..=LANES {
            for wrong in 0..=count {
                let mut group = RecordGroup::new(b"bucket");
                for (n, record) in records[..count].iter().enumerate() {
                    let mut mac = key.mac(b"bucket", &[n as u8], record);
                    mac[n] ^= u8::from(n == wrong);
                    assert!(!group.is_full());
                    group.add(&[n as u8], record, &mac);
                }
                assert_eq!(group.is_full(), count == LANES);
                for key in [&key, &single] {
                    let opened = key.open_group(&group).map(|records| records.collect::<Vec<_>>());
                    assert_eq!(opened.is_ok(), wrong == count);
                    for (n, (row, record)) in opened.into_iter().flatten().enumerate() {
                        assert_eq!((row, record), (&[n as u8][..], &records[n][..]));
                    }
                }
            }
        }
        let mut group = RecordGroup::new(b"bucket");
        group.add(b"row", b"record", &key.mac(b"bucket", b"row", b"record"));
        assert_eq!(key.open_group(&group).unwrap().collect::<Vec<_>>(), [(&b"row"[..], &b"record"[..])]);
        group.clear();
        group.add(b"row", b"record", &key.mac(b"other", b"row", b"record"));
        assert!(key.open_group(&group).is_err());
    }
}
