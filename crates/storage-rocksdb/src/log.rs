//! The log of every commit: preallocated, recycled segments, one durable write for each group. docs/format.md section
//! "The log" gives its bytes. RocksDB is an index that is not synced; what it has not flushed is replayed from here.

use crate::{
    index::Mark,
    passing::is_passing,
    segment::{BLOCK, Blocks, SEGMENT, Segment},
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use tresor_digest::crc32c;

/// Segments at most; an append waits for a checkpoint when all are in use.
const MAX_SEGMENTS: usize = 16;
/// Bytes after which a checkpoint is due: what a start replays stays within seconds.
const CHECKPOINT: u64 = 48 << 20;
const MAGIC: &[u8; 8] = b"TRESLOG1";
/// Magic (8), generation (8), CRC-32C of both (4).
const HEADER: usize = 20;
/// Length (4), CRC-32C (4), generation (8), sequence (8).
const RECORD_HEADER: usize = 24;

/// One row as it was written; no value means that it was deleted.
pub(crate) type Row = (Vec<u8>, Option<bytes::Bytes>);

/// A group of rows and its place in the order of all groups.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub sequence: u64,
    pub rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Log {
    directory: PathBuf,
    active: Option<Segment>,
    at: u64,
    generation: u64,
    /// Full segments that a start may need, oldest first.
    full: Vec<Segment>,
    free: Vec<Segment>,
    next_sequence: u64,
    since_checkpoint: u64,
    made: u32,
    /// The block that the last record ends in, as far as it is filled: it is written again with the next record.
    tail: Vec<u8>,
    /// Holds a group while it is written.
    blocks: Blocks,
}

fn damaged(what: &str, path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the log is damaged: {what} in {}", path.display()))
}

impl Log {
    /// Opens the log and gives every entry that the index lacks, in order. What was acknowledged is in it or in RocksDB; a torn tail
    /// was never acknowledged. Errors: InvalidData for an entry that is missing before one that is there, or that the index has seen.
    pub(crate) fn open(directory: &Path, mark: Mark) -> io::Result<(Self, Vec<Entry>)> {
        fs::create_dir_all(directory)?;
        let Replay { entries, paths, made, newest, next: expected } = replay(directory, mark)?;
        let mut free = Vec::new();
        for path in paths {
            free.push(Segment::open(&path)?);
        }
        let log = Self {
            directory: directory.to_owned(),
            active: None,
            at: 0,
            generation: newest,
            full: Vec::new(),
            free,
            next_sequence: expected,
            since_checkpoint: 0,
            made,
            tail: Vec::new(),
            blocks: Blocks::default(),
        };
        Ok((log, entries))
    }

    /// Appends one group; durable on return. Returns its sequence. Errors: WouldBlock when a checkpoint must come first, and then nothing was
    /// written; after any other error the log must not be used again.
    pub(crate) fn append(&mut self, rows: &[Row]) -> io::Result<u64> {
        let sequence = self.next_sequence;
        let payload = encoded_len(rows);
        let begins = self.active.is_none() || self.at + (RECORD_HEADER + payload) as u64 > SEGMENT;
        if begins {
            self.next_segment()?;
        }
        let bytes = self.blocks.begin(&self.tail, HEADER + RECORD_HEADER + payload);
        if begins {
            bytes.extend_from_slice(&header(self.generation));
        }
        push_record(bytes, self.generation, sequence, rows);
        let from = self.at - self.tail.len() as u64;
        let added = self.blocks.added();
        self.since_checkpoint += (added.len() - self.tail.len()) as u64;
        self.at = from + added.len() as u64;
        self.tail.clear();
        self.tail.extend_from_slice(&added[added.len() / BLOCK * BLOCK..]);
        let segment = self.active.as_mut().ok_or(io::ErrorKind::Other)?;
        segment.write(self.blocks.whole(), from)?;
        segment.last = sequence;
        self.next_sequence += 1;
        Ok(sequence)
    }

    fn next_segment(&mut self) -> io::Result<()> {
        let next = match self.free.pop() {
            Some(segment) => segment,
            None if self.full.len() + 1 >= MAX_SEGMENTS => return Err(io::ErrorKind::WouldBlock.into()),
            None => {
                let path = self.directory.join(format!("{:08}.log", self.made));
                let segment = Segment::make(&path, &mut self.blocks)?;
                File::open(&self.directory)?.sync_all()?;
                self.made += 1;
                segment
            }
        };
        self.full.extend(self.active.replace(next));
        self.generation += 1;
        self.at = 0;
        self.tail.clear();
        Ok(())
    }

    /// Whether enough was written since the last checkpoint began.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        self.since_checkpoint >= CHECKPOINT
    }
    pub(crate) fn checkpoint_begins(&mut self) {
        self.since_checkpoint = 0;
    }
    /// Whether so many segments are in use that none should be kept for rows that pass.
    pub(crate) fn is_crowded(&self) -> bool {
        self.full.len() > MAX_SEGMENTS / 2
    }
    pub(crate) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// No start needs an entry up to `sequence` any more: segments that hold nothing newer may be used again.
    pub(crate) fn flushed(&mut self, sequence: u64) {
        let (free, full): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.full).into_iter().partition(|segment| segment.last <= sequence);
        self.full = full;
        self.free.extend(free);
    }
}

/// What a log holds, read and not changed.
pub(crate) struct Replay {
    /// Those that the index lacks, in order.
    pub entries: Vec<Entry>,
    /// Oldest first.
    paths: Vec<PathBuf>,
    made: u32,
    newest: u64,
    next: u64,
}

/// Reads every entry above the floor; of those that the index has otherwise, only the rows that pass. Errors: as `Log::open`.
pub(crate) fn replay(directory: &Path, mark: Mark) -> io::Result<Replay> {
    let (mut found, mut made) = (Vec::new(), 0);
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok()) else { continue };
        made = made.max(number + 1);
        let content = fs::read(&path)?;
        found.push((read_header(&content), path, content));
    }
    found.sort_by_key(|(generation, ..)| *generation);
    let mut replay = Replay { entries: Vec::new(), paths: Vec::new(), made, newest: 0, next: mark.floor + 1 };
    for (generation, path, content) in found {
        if let Some(generation) = generation {
            replay.newest = replay.newest.max(generation);
            for mut entry in read_entries(&content, generation) {
                if entry.sequence < replay.next {
                    continue;
                }
                if entry.sequence > replay.next {
                    return Err(damaged("a gap", &path));
                }
                replay.next += 1;
                if entry.sequence <= mark.applied {
                    entry.rows.retain(|(key, _)| is_passing(key));
                }
                replay.entries.push(entry);
            }
        }
        replay.paths.push(path);
    }
    if replay.next <= mark.applied {
        // New entries would be numbered as old ones, and taken for what the index holds already.
        return Err(damaged("entries that the index has seen are missing at the end", directory));
    }
    Ok(replay)
}

fn header(generation: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&generation.to_be_bytes());
    let crc = crc32c(&[&out[..16]]);
    out[16..].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The generation of a segment; `None` for one that was never used.
fn read_header(content: &[u8]) -> Option<u64> {
    let generation = u64::from_be_bytes(content.get(8..16)?.try_into().ok()?);
    (content.get(..HEADER)? == header(generation)).then_some(generation)
}

fn push_record(out: &mut Vec<u8>, generation: u64, sequence: u64, rows: &[Row]) {
    let start = out.len();
    let payload = encoded_len(rows);
    out.reserve(RECORD_HEADER + payload);
    out.extend_from_slice(&(payload as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&generation.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    encode(rows, out);
    let crc = record_crc(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
}

/// Over the record with its CRC field left out.
fn record_crc(record: &[u8]) -> u32 {
    crc32c(&[&record[..4], &record[8..]])
}

/// The entries of a segment up to the first that is torn or of an earlier use of the segment.
fn read_entries(content: &[u8], generation: u64) -> Vec<Entry> {
    let (mut entries, mut at) = (Vec::new(), HEADER);
    while let Some(entry) = content.get(at..).and_then(|rest| read_record(rest, generation)) {
        at += entry.1;
        entries.push(entry.0);
    }
    entries
}

fn read_record(rest: &[u8], generation: u64) -> Option<(Entry, usize)> {
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        rest.get(range).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let length = RECORD_HEADER + usize::try_from(number(0..4)?).ok()?;
    let record = rest.get(..length)?;
    if number(8..16)? != generation || number(4..8)? != u64::from(record_crc(record)) {
        return None;
    }
    let rows = decode(&record[RECORD_HEADER..])?;
    Some((Entry { sequence: number(16..24)?, rows }, length))
}

/// Rows one after the other: kind (1: put, 0: delete), length of key (4), key, length of value (4), value.
fn encode(rows: &[Row], out: &mut Vec<u8>) {
    for (key, value) in rows {
        out.push(u8::from(value.is_some()));
        for text in [&key[..], value.as_deref().unwrap_or_default()] {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text);
        }
    }
}

/// What `encode` adds, in bytes.
fn encoded_len(rows: &[Row]) -> usize {
    rows.iter().map(|(key, value)| 9 + key.len() + value.as_ref().map_or(0, |value| value.len())).sum()
}

fn decode(mut payload: &[u8]) -> Option<Vec<Row>> {
    fn text<'a>(payload: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *payload = rest;
        Some(text)
    }
    let mut rows = Vec::new();
    while let Some((kind, rest)) = payload.split_first() {
        payload = rest;
        let (key, value) = (text(&mut payload)?.to_vec(), text(&mut payload)?);
        rows.push((key, (*kind == 1).then(|| bytes::Bytes::copy_from_slice(value))));
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: u64) -> Vec<Row> {
        vec![(n.to_be_bytes().to_vec(), Some(vec![n as u8; 1000].into())), (b"gone".to_vec(), None)]
    }
    fn upto(sequence: u64) -> Mark {
        Mark { applied: sequence, floor: sequence }
    }
    fn sequences(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.sequence).collect()
    }
    /// A new log with so many entries.
    fn filled(directory: &Path, entries: u64) -> Log {
        let (mut log, _) = Log::open(directory, upto(0)).unwrap();
        for n in 1..=entries {
            log.append(&rows(n)).unwrap();
        }
        log
    }
    fn only_file(directory: &Path) -> PathBuf {
        fs::read_dir(directory).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_was_appended_is_replayed_from_where_the_index_ends() {
        let home = tempfile::tempdir().unwrap();
        let (mut log, entries) = Log::open(home.path(), upto(0)).unwrap();
        assert!(entries.is_empty());
        for n in 1..=5 {
            assert_eq!(log.append(&rows(n)).unwrap(), n);
        }
        drop(log);
        let (mut log, entries) = Log::open(home.path(), upto(2)).unwrap();
        assert_eq!(sequences(&entries), [3, 4, 5]);
        assert_eq!(entries[0].rows, rows(3));
        // The segment is used again, and what it held before is not mistaken for new entries.
        assert_eq!(log.append(&rows(6)).unwrap(), 6);
        drop(log);
        assert_eq!(sequences(&Log::open(home.path(), upto(5)).unwrap().1), [6]);
        assert!(Log::open(home.path(), upto(4)).is_err(), "an entry that is missing in front of others is damage");
    }

    /// Entries between the floor and what the index holds are needed too: for the rows that pass, and for the numbers of new entries.
    #[test]
    fn a_log_that_ends_before_what_the_index_holds_is_refused() {
        let home = tempfile::tempdir().unwrap();
        drop(filled(home.path(), 4));
        let mark = |applied| Mark { applied, floor: 1 };
        assert!(Log::open(home.path(), mark(4)).is_ok());
        assert!(Log::open(home.path(), mark(5)).is_err(), "shorter");
        fs::remove_file(only_file(home.path())).unwrap();
        assert!(Log::open(home.path(), mark(4)).is_err(), "gone");
    }

    #[test]
    fn a_torn_tail_ends_the_log_and_a_flipped_bit_never_gives_other_rows() {
        let home = tempfile::tempdir().unwrap();
        let log = filled(home.path(), 3);
        let end = log.at as usize;
        drop(log);
        let path = only_file(home.path());
        let good = fs::read(&path).unwrap();
        for place in (0..end).step_by(7) {
            let mut broken = good.clone();
            broken[place] ^= 1 << (place % 8);
            fs::write(&path, &broken).unwrap();
            let (_, entries) = Log::open(home.path(), upto(0)).unwrap();
            assert!(entries.len() < 3, "byte {place}");
            for entry in entries {
                assert_eq!(entry.rows, rows(entry.sequence));
            }
        }
    }

    #[test]
    fn segments_are_recycled_only_after_a_flush() {
        let home = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(home.path(), upto(0)).unwrap();
        let large: Vec<Row> = vec![(b"k".to_vec(), Some(vec![1; 7 << 20].into()))];
        let mut last = 0;
        let blocked = loop {
            match log.append(&large) {
                Ok(sequence) => last = sequence,
                Err(error) => break error,
            }
        };
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(last, 2 * MAX_SEGMENTS as u64);
        assert!(log.is_checkpoint_due());
        log.flushed(2);
        assert_eq!(log.append(&large).unwrap(), last + 1);
        drop(log);
        assert_eq!(Log::open(home.path(), upto(2)).unwrap().1.len() as u64, last - 1);
        assert!(Log::open(home.path(), upto(1)).is_err());
    }
}
