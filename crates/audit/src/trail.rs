//! Files of events: JSON lines chained by hash, closed by signed digests.
//!
//! A line is `{"sequence":N,"previous":HEX,"event":{..}}`; `previous` is SHA-256 of the line before it, across files. A file is named
//! by its first sequence number. When it is full, or the server stops, a digest says its first and last number, the hash of its last
//! line and the hash of the digest before it, signed with Ed25519.

use crate::{Event, newest::Newest};
use aws_lc_rs::{
    digest,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// How long files get and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct TrailLimits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files; the oldest goes, with its digest, when one more is begun.
    pub files: usize,
}

/// The place in the chain: the last line's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Head {
    #[n(0)]
    pub sequence: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}

const NOTHING: Head = Head { sequence: 0, hash: [0; 32] };

/// The most bytes of events that are not durable yet; more are refused, so a disk that fails costs no unbounded memory.
const MAX_TAIL: usize = 64 << 20;
/// Bytes after which lines go to the operating system without waiting for the next flush.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes of a line besides its event, at most.
const FRAME: usize = 128;

struct Open {
    file: Arc<File>,
    first: u64,
    /// Bytes of the file that are durable.
    durable: u64,
    /// The lines behind them, kept until they are durable: after a failed write or sync they are written again in the same place.
    tail: Vec<u8>,
    /// Bytes of the tail that the operating system has.
    written: usize,
    head: Head,
}

impl Open {
    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.tail[self.written..], self.durable + self.written as u64)?;
        self.written = self.tail.len();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        let end = self.end();
        let synced = self.file.sync_data();
        self.synced(end, synced)
    }

    /// Where the next line goes.
    fn end(&self) -> u64 {
        self.durable + self.tail.len() as u64
    }

    /// Takes note of the sync that began when the operating system had everything before `end`; lines may have come since.
    fn synced(&mut self, end: u64, outcome: io::Result<()>) -> io::Result<()> {
        if outcome.is_err() {
            // What a failed sync left of it is unknown.
            self.written = 0;
            return outcome;
        }
        let durable = usize::try_from(end - self.durable).expect("what is in memory");
        self.tail.drain(..durable);
        self.written -= durable;
        self.durable = end;
        Ok(())
    }
}

/// The trail of one store, open for writing.
pub struct Trail {
    directory: PathBuf,
    key: Ed25519KeyPair,
    limits: TrailLimits,
    /// Held by who syncs, and taken before `open`: of two syncs at once, only one would be told of a failure.
    syncing: Mutex<()>,
    open: Mutex<Open>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trail({})", self.directory.display())
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn name(first: u64) -> String {
    format!("{first:020}.jsonl")
}
fn digest_name(first: u64) -> String {
    format!("{first:020}.digest.json")
}

/// Files of events, by their first number.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        if let Some(first) = first {
            files.push((first, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

impl Trail {
    /// Opens the trail of a directory, or begins one. A last line that a crash tore is taken off: it was never acknowledged.
    /// `seed` makes the signing key. A trail that does not reach the event the store remembers was cut or changed: it goes on in a
    /// new file behind that event, so that the gap is seen for ever. Errors: InvalidData for a file that is none.
    pub fn open(directory: &Path, seed: &[u8; 32], limits: TrailLimits, remembered: Option<Head>) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| invalid("the signing key"))?;
        let open = match files(directory)?.pop() {
            None => begin(directory, NOTHING)?,
            Some((first, path)) => match (resume(&path, first), remembered) {
                (Err(error), Some(head)) if error.kind() == io::ErrorKind::InvalidData => begin(directory, head)?,
                (resumed, _) => resumed?,
            },
        };
        let open = match remembered {
            Some(head) if head.sequence > open.head.sequence => begin(directory, head)?,
            Some(head) if head.sequence == open.head.sequence && head != open.head => begin(directory, head)?,
            _ => open,
        };
        Ok(Self { directory: directory.to_owned(), key, limits, syncing: Mutex::default(), open: Mutex::new(open) })
    }

    /// What `tresor audit verify` needs besides the files.
    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }
    pub fn directory(&self) -> &Path {
        &self.directory
    }
    pub fn head(&self) -> Head {
        self.open.lock().head
    }

    /// Appends an event; it is durable after the next `flush`. Errors: it is not in the trail, and the trail is as it was.
    pub fn append(&self, event: &Event) -> io::Result<()> {
        self.append_json(&event.to_json())
    }

    /// Appends an event in its written form: JSON on one line.
    pub fn append_json(&self, event: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        if self.is_full(&open, event.len()) {
            drop(open);
            self.make_room(event.len())?;
            open = self.open.lock();
        }
        let sequence = open.head.sequence + 1;
        let mut previous = [0; 64];
        hex::encode_to_slice(open.head.hash, &mut previous).map_err(io::Error::other)?;
        let mut line = Vec::with_capacity(event.len() + FRAME);
        write!(line, "{{\"sequence\":{sequence},\"previous\":\"")?;
        line.extend_from_slice(&previous);
        line.extend_from_slice(b"\",\"event\":");
        line.extend_from_slice(event);
        line.push(b'}');
        let hash = hash(&line);
        line.push(b'\n');
        open.tail.extend_from_slice(&line);
        open.head = Head { sequence, hash };
        if open.tail.len() - open.written >= WRITE_BYTES
            && let Err(error) = open.write()
        {
            tracing::debug!(%error, "events wait in memory for the next flush");
        }
        Ok(())
    }

    fn is_full(&self, open: &Open, more: usize) -> bool {
        open.end() >= self.limits.file_bytes || open.tail.len() + more > MAX_TAIL
    }

    /// Ends a file that is full and begins another; makes durable what is too much in memory.
    fn make_room(&self, more: usize) -> io::Result<()> {
        let _alone = self.syncing.lock();
        let mut open = self.open.lock();
        if !self.is_full(&open, more) {
            return Ok(());
        }
        open.sync()?;
        if open.end() >= self.limits.file_bytes {
            self.close(&mut open)?;
            let head = open.head;
            *open = begin(&self.directory, head)?;
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Durable on return; the head that is.
    pub fn flush(&self) -> io::Result<Head> {
        let _alone = self.syncing.lock();
        let (file, end, head) = {
            let mut open = self.open.lock();
            open.write()?;
            (Arc::clone(&open.file), open.end(), open.head)
        };
        // Without `open`: a second's events take the disk some milliseconds, in which every request that ends would wait.
        let synced = file.sync_data();
        self.open.lock().synced(end, synced)?;
        Ok(head)
    }

    /// Lets readers of the files see everything that was appended.
    pub fn show(&self) -> io::Result<()> {
        self.open.lock().write()
    }

    /// Ends the current file with a digest; the next event begins another one.
    pub fn finish(&self) -> io::Result<Head> {
        let _alone = self.syncing.lock();
        let mut open = self.open.lock();
        self.close(&mut open)?;
        Ok(open.head)
    }

    /// The caller holds `syncing`.
    fn close(&self, open: &mut Open) -> io::Result<()> {
        open.sync()?;
        if open.head.sequence < open.first {
            return Ok(());
        }
        let previous = files(&self.directory)?.into_iter().rev().find(|(first, _)| *first < open.first);
        let previous = match previous.map(|(first, _)| fs::read(self.directory.join(digest_name(first)))) {
            Some(Ok(bytes)) => hex::encode(hash(&bytes)),
            Some(Err(_)) | None => String::new(),
        };
        let (first, last, tail) = (open.first, open.head.sequence, hex::encode(open.head.hash));
        let signed = signed_text(first, last, &tail, &previous);
        let digest = json!({
            "first": first,
            "last": last,
            "hash": tail,
            "previousDigest": previous,
            "signature": hex::encode(self.key.sign(signed.as_bytes()).as_ref()),
            "publicKey": hex::encode(self.key.public_key().as_ref()),
        });
        let path = self.directory.join(digest_name(first));
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(digest.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let files = files(&self.directory)?;
        for (first, path) in files.iter().take(files.len().saturating_sub(self.limits.files)) {
            fs::remove_file(path)?;
            match fs::remove_file(self.directory.join(digest_name(*first))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Trail {
    /// A command that ends hands over what it appended; the rows of changes bring back what is lost here.
    fn drop(&mut self) {
        if let Err(error) = self.open.get_mut().write() {
            tracing::warn!(%error, "the last audit events were not written");
        }
    }
}

fn signed_text(first: u64, last: u64, tail: &str, previous: &str) -> String {
    format!("tresor/v1/audit-digest\n{first}\n{last}\n{tail}\n{previous}")
}

fn begin(directory: &Path, head: Head) -> io::Result<Open> {
    let first = head.sequence + 1;
    let path = directory.join(name(first));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    File::open(directory)?.sync_all()?;
    let durable = file.metadata()?.len();
    Ok(Open { file: Arc::new(file), first, durable, tail: Vec::new(), written: 0, head })
}

fn resume(path: &Path, first: u64) -> io::Result<Open> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut head = Head { sequence: first - 1, hash: [0; 32] };
    if let Some(line) = bytes[..whole].split(|b| *b == b'\n').rev().find(|line| !line.is_empty()) {
        let value: Value =
            serde_json::from_slice(line).map_err(|_| invalid(format!("{} ends in no event", path.display())))?;
        head = Head { sequence: value["sequence"].as_u64().unwrap_or(first), hash: hash(line) };
    } else if first > 1 {
        // A file that was begun and not written to: the chain goes on from the one before it.
        let before = files(path.parent().unwrap_or(path))?.into_iter().rev().find(|(number, _)| *number < first);
        if let Some((number, before)) = before {
            head = resume(&before, number)?.head;
        }
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(whole as u64)?;
    Ok(Open { file: Arc::new(file), first, durable: whole as u64, tail: Vec::new(), written: 0, head })
}

/// The public key of the trail whose signing key `seed` makes, for reading it without opening it. Errors: InvalidData.
pub fn public_key(seed: &[u8; 32]) -> io::Result<Vec<u8>> {
    let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| invalid("the signing key"))?;
    Ok(key.public_key().as_ref().to_vec())
}

/// Where a trail breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {what}")]
pub struct Broken {
    pub file: String,
    /// From 1; 0 for the file or its digest as a whole.
    pub line: u64,
    pub what: String,
}

/// What an honest trail holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub first: u64,
    pub last: u64,
    pub files: usize,
    pub digests: usize,
}

/// Proves order and completeness: every line follows the one before it, every digest is signed and agrees with its file, and the
/// trail reaches the head that the store remembers. Errors: the first thing that is wrong.
pub fn verify(directory: &Path, public_key: &[u8], head: Option<Head>) -> Result<Verified, Broken> {
    let broken = |path: &Path, line: u64, what: &str| Broken {
        file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        line,
        what: what.to_owned(),
    };
    let files = files(directory).map_err(|error| broken(directory, 0, &error.to_string()))?;
    let mut verified =
        Verified { first: files.first().map_or(1, |(first, _)| *first), last: 0, files: files.len(), digests: 0 };
    let mut at: Option<Head> = None;
    let mut previous_digest: Option<String> = None;
    let mut reached = head.is_none_or(|head| head.sequence < verified.first);
    for (first, path) in &files {
        if at.is_some_and(|at| at.sequence + 1 != *first) {
            return Err(broken(path, 0, "the events before this file are missing"));
        }
        let file = File::open(path).map_err(|error| broken(path, 0, &error.to_string()))?;
        for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
            let line = line.map_err(|error| broken(path, number, &error.to_string()))?;
            let value: Value = serde_json::from_slice(&line).map_err(|_| broken(path, number, "it is not an event"))?;
            let sequence = value["sequence"].as_u64().unwrap_or_default();
            if sequence != first + number - 1 {
                return Err(broken(
                    path,
                    number,
                    &format!("it has the number {sequence} in the place of {}", first + number - 1),
                ));
            }
            if let Some(at) = at
                && value["previous"].as_str() != Some(&hex::encode(at.hash))
            {
                return Err(broken(path, number, "it does not follow the event before it: one of the two was changed"));
            }
            let here = Head { sequence, hash: hash(&line) };
            if let Some(head) = head
                && head.sequence == sequence
            {
                if head.hash != here.hash {
                    return Err(broken(path, number, "it is not the event that the store remembers"));
                }
                reached = true;
            }
            at = Some(here);
            verified.last = sequence;
        }
        let digest_path = directory.join(digest_name(*first));
        let Ok(bytes) = fs::read(&digest_path) else {
            previous_digest = None;
            continue;
        };
        let digest: Value =
            serde_json::from_slice(&bytes).map_err(|_| broken(&digest_path, 0, "it is not a digest"))?;
        let text = |name: &str| digest[name].as_str().unwrap_or_default().to_owned();
        let last = digest["last"].as_u64().unwrap_or_default();
        let signed = signed_text(*first, last, &text("hash"), &text("previousDigest"));
        let signature = hex::decode(text("signature")).unwrap_or_default();
        if UnparsedPublicKey::new(&ED25519, public_key).verify(signed.as_bytes(), &signature).is_err() {
            return Err(broken(&digest_path, 0, "its signature is not ours"));
        }
        let known = at.filter(|at| at.sequence >= last);
        if known.is_none_or(|at| at.sequence == last && hex::encode(at.hash) != text("hash")) {
            return Err(broken(path, last + 1 - first, "the digest tells of another last event"));
        }
        if let Some(previous) = &previous_digest
            && *previous != text("previousDigest")
        {
            return Err(broken(&digest_path, 0, "the digest before it was changed"));
        }
        previous_digest = Some(hex::encode(hash(&bytes)));
        verified.digests += 1;
    }
    if !reached {
        let last = files.last().map_or_else(|| directory.to_owned(), |(_, path)| path.clone());
        let wanted = head.map_or(0, |head| head.sequence);
        return Err(broken(
            &last,
            0,
            &format!("it ends at event {}, and the store remembers event {wanted}", verified.last),
        ));
    }
    Ok(verified)
}

/// The newest events for which `wanted` holds, newest first, at most `limit`.
pub fn search(directory: &Path, limit: usize, wanted: impl Fn(&Value) -> bool) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for line in Newest::of(directory, None)? {
        let (_, event) = line?;
        if wanted(&event) {
            found.push(event);
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;
    use tresor_model::Timestamp;

    fn event(n: u64) -> Event {
        Event {
            source: "kms.amazonaws.com",
            name: format!("Encrypt{n}").leak(),
            at: Timestamp::from_millis(n),
            request_id: n.to_string().into(),
            event_id: [n as u8; 16],
            origin: Origin::default(),
            read_only: true,
            status: 200,
            ..Event::default()
        }
    }
    fn written(directory: &Path, limits: TrailLimits, from: u64, to: u64) -> (Head, Vec<u8>) {
        let trail = Trail::open(directory, &[7; 32], limits, None).unwrap();
        for n in from..=to {
            trail.append(&event(n)).unwrap();
        }
        (trail.finish().unwrap(), trail.public_key())
    }
    const LIMITS: TrailLimits = TrailLimits { file_bytes: 2000, files: 100 };

    #[test]
    fn an_honest_trail_verifies_and_every_change_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        written(path, LIMITS, 1, 20);
        let (head, key) = written(path, LIMITS, 21, 40);
        let verified = verify(path, &key, Some(head)).unwrap();
        assert_eq!((verified.first, verified.last), (1, 40));
        assert!(verified.files > 3 && verified.digests == verified.files);
        let all: Vec<(PathBuf, Vec<u8>)> =
            files(path).unwrap().into_iter().map(|(_, path)| (path.clone(), fs::read(path).unwrap())).collect();
        for (file, bytes) in &all {
            let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
            let broken = |bytes: &[u8]| {
                fs::write(file, bytes).unwrap();
                verify(path, &key, Some(head)).unwrap_err()
            };
            let edited = String::from_utf8(bytes.clone()).unwrap().replacen("Encrypt", "Decrypt", 1).into_bytes();
            assert!(broken(&edited).line <= 2);
            let mut swapped = lines.clone();
            swapped.swap(0, 1);
            assert_eq!(broken(&swapped.concat()).line, 1);
            broken(&lines[..lines.len() - 1].concat());
            broken(&lines[1..].concat());
            broken(b"");
            fs::write(file, bytes).unwrap();
        }
        let (last, bytes) = all.last().unwrap();
        fs::remove_file(last).unwrap();
        assert!(verify(path, &key, Some(head)).unwrap_err().what.contains("the store remembers event 40"));
        fs::write(last, bytes).unwrap();
        fs::remove_file(&all[1].0).unwrap();
        assert_eq!(verify(path, &key, Some(head)).unwrap_err().what, "the events before this file are missing");
        fs::write(&all[1].0, &all[1].1).unwrap();
        assert!(verify(path, &[1; 32], Some(head)).unwrap_err().what.contains("signature"));
        verify(path, &key, Some(head)).unwrap();
    }

    #[test]
    fn a_cut_trail_stays_cut_when_it_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let (head, key) = written(place.path(), LIMITS, 1, 3);
        let (_, file) = files(place.path()).unwrap().pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        let two: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').take(2).collect();
        fs::write(&file, two.concat()).unwrap();
        let trail = Trail::open(place.path(), &[7; 32], LIMITS, Some(head)).unwrap();
        trail.append(&event(4)).unwrap();
        let head = trail.finish().unwrap();
        assert_eq!(head.sequence, 4);
        let broken = verify(place.path(), &key, Some(head)).unwrap_err();
        assert!(broken.what.contains("last event") || broken.what.contains("missing"), "{broken}");
    }

    #[test]
    fn events_come_while_others_are_made_durable() {
        let place = tempfile::tempdir().unwrap();
        let limits = TrailLimits { file_bytes: 200_000, files: 100 };
        let trail = Trail::open(place.path(), &[7; 32], limits, None).unwrap();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let trail = &trail;
                scope.spawn(move || (0..500).for_each(|m| trail.append(&event(n * 500 + m)).unwrap()));
            }
            let heads: Vec<u64> = (0..50).map(|_| trail.flush().unwrap().sequence).collect();
            assert!(heads.is_sorted());
        });
        let head = trail.flush().unwrap();
        let verified = verify(place.path(), &trail.public_key(), Some(head)).unwrap();
        assert_eq!((head.sequence, verified.last, verified.files > 3), (2000, 2000, true));
        assert!(trail.open.lock().tail.is_empty());
    }

    #[test]
    fn a_torn_last_line_is_taken_off_and_old_files_go() {
        let place = tempfile::tempdir().unwrap();
        let (_, key) = written(place.path(), LIMITS, 1, 3);
        let (_, file) = files(place.path()).unwrap().pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend_from_slice(b"{\"sequence\":4,");
        fs::write(&file, bytes).unwrap();
        let few = TrailLimits { files: 3, ..LIMITS };
        let (head, _) = written(place.path(), few, 4, 60);
        let verified = verify(place.path(), &key, Some(head)).unwrap();
        assert!(verified.first > 1 && verified.last == 60 && verified.files == 3);
        let numbers =
            |below| -> Vec<u64> { Newest::of(place.path(), below).unwrap().map(|line| line.unwrap().0).collect() };
        assert_eq!(numbers(None), (verified.first..=60).rev().collect::<Vec<_>>());
        assert_eq!(numbers(Some(57)), (verified.first..57).rev().collect::<Vec<_>>());
        assert_eq!(numbers(Some(verified.first)), Vec::<u64>::new());
        let newest = search(place.path(), 2, |event| event["eventName"] != "Encrypt60").unwrap();
        assert_eq!(newest[0]["eventName"], "Encrypt59");
    }
}
