//! The record of a change: what the audit trail will say about it, carried into the commit that makes it. A value like the others,
//! but that it remembers which commits took it, because its row has to be removed there once the trail holds the event.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The most bytes of an event that travels with a commit.
pub const MAX_CHANGE_RECORD: usize = 64 * 1024;

/// Names one event for ever: 16 drawn bytes.
pub type EventId = [u8; 16];

/// One event's record. Clones are the same record.
#[derive(Clone)]
pub struct ChangeRecord(Arc<Inner>);

struct Inner {
    id: EventId,
    event: Vec<u8>,
    /// Partitions that a commit was sent to with the record, and whether it is known to have succeeded.
    places: Mutex<Vec<([u8; 16], bool)>>,
}

/// The record is longer than `MAX_CHANGE_RECORD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTooLong(pub usize);

impl ChangeRecord {
    /// `event` is the event's JSON. Errors: RecordTooLong.
    pub fn new(id: EventId, event: Vec<u8>) -> Result<Self, RecordTooLong> {
        if event.len() > MAX_CHANGE_RECORD {
            return Err(RecordTooLong(event.len()));
        }
        Ok(Self(Arc::new(Inner { id, event, places: Mutex::default() })))
    }

    pub fn id(&self) -> EventId {
        self.0.id
    }
    pub fn event(&self) -> &[u8] {
        &self.0.event
    }

    /// Says that a commit of this partition is about to take the record.
    pub fn sent_to(&self, partition: [u8; 16]) {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if !places.iter().any(|(place, _)| *place == partition) {
            places.push((partition, false));
        }
    }
    /// Says that such a commit succeeded: further ones need not take it again.
    pub fn kept_in(&self, partition: [u8; 16]) {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept)) = places.iter_mut().find(|(place, _)| *place == partition) {
            *kept = true;
        }
    }
    pub fn is_kept_in(&self, partition: [u8; 16]) -> bool {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).contains(&(partition, true))
    }
    /// Where its row may lie, successes and commits of unknown outcome alike.
    pub fn places(&self) -> Vec<[u8; 16]> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(place, _)| *place).collect()
    }
}

impl fmt::Debug for ChangeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeRecord({} bytes)", self.0.event.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_its_places_and_its_limit() {
        let record = ChangeRecord::new([1; 16], b"{}".to_vec()).unwrap();
        let twin = record.clone();
        twin.sent_to([2; 16]);
        twin.sent_to([2; 16]);
        assert!(!record.is_kept_in([2; 16]));
        record.kept_in([2; 16]);
        record.kept_in([3; 16]);
        assert!(twin.is_kept_in([2; 16]) && !twin.is_kept_in([3; 16]));
        assert_eq!(record.places(), vec![[2; 16]]);
        assert_eq!(ChangeRecord::new([1; 16], vec![0; MAX_CHANGE_RECORD + 1]).unwrap_err(), RecordTooLong(65_537));
    }
}
