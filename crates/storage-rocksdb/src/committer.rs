//! The one thread that commits: guards in order, one append to the log and one sync for a group, then the index.

use crate::{
    WRITE_BUFFER,
    index::{Mark, engine, flush, full, index},
    log::{Log, Row},
    passing::{Passing, is_passing},
};
use bytes::Bytes;
use rocksdb::DB;
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tresor_storage::{Batch, Expected, MetaError, Partition, Write, added};

/// Batches that share one sync.
const MAX_GROUP: usize = 512;
/// How often a group lets others run before it is closed.
const YIELDS: usize = 3;
/// Bytes in the index after which a checkpoint is due: soon before it would flush by itself, and a checkpoint flush the little that came
/// since.
const INDEXED: usize = WRITE_BUFFER / 8 * 7;
/// Bytes that share one sync.
const MAX_GROUP_BYTES: usize = 8 << 20;

pub(crate) struct Commit {
    pub partition: Partition,
    pub batch: Batch,
    pub answer: Answer,
}

pub(crate) struct Committer {
    db: Arc<DB>,
    passing: Arc<Passing>,
    log: Log,
    mark: Mark,
    /// Bytes given to the index since the last checkpoint began.
    indexed: usize,
    /// A checkpoint on its way: it sends the sequence up to which the log is not needed any more.
    checkpoint: Option<Receiver<Result<u64, rocksdb::Error>>>,
    /// Set by a write that failed: what lies in the log is unknown then, so nothing is acknowledged any more.
    broken: Option<String>,
    hot: Hot,
    /// Where the callers wait, if they all wait there.
    runtime: Option<Handle>,
}

type Answer = oneshot::Sender<Result<(), MetaError>>;

/// Tells a group's callers how it went. Inside the runtime, where waking one caller costs no system call: from here, each would.
fn answer(runtime: Option<&Handle>, callers: Vec<Answer>, outcome: &Result<(), String>) {
    let outcome = outcome.clone();
    let tell = move || {
        for caller in callers {
            // A caller that is gone does not need its answer.
            drop(caller.send(outcome.clone().map_err(MetaError::Engine)));
        }
    };
    match runtime {
        Some(runtime) => drop(runtime.spawn(async move { tell() })),
        None => tell(),
    }
}

/// What the group has written so far, seen by the guards of its later batches.
type Overlay = HashMap<Vec<u8>, Option<Bytes>>;
/// Rows of `Hot`.
const MAX_HOT: usize = 1024;

impl Committer {
    /// `log` holds nothing that the index does not.
    pub(crate) fn new(db: Arc<DB>, passing: Arc<Passing>, log: Log) -> Self {
        let mark = Mark { applied: log.last_sequence(), floor: log.last_sequence() };
        let runtime = Handle::try_current().ok();
        Self { db, passing, log, mark, indexed: 0, checkpoint: None, broken: None, hot: Hot::default(), runtime }
    }

    pub(crate) fn run(mut self, mut waiting: mpsc::Receiver<Commit>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = first.batch.bytes();
            let mut group = vec![first];
            // Where the processors are busy, those who are about to commit get to run first, and one sync serves them too; where they are
            // idle, nothing is waited for.
            for _ in 0..YIELDS {
                let before = group.len();
                while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                    match waiting.try_recv() {
                        Ok(commit) => {
                            bytes += commit.batch.bytes();
                            group.push(commit);
                        }
                        Err(_) => break,
                    }
                }
                if group.len() == before && before > 1 {
                    break;
                }
                thread::yield_now();
            }
            self.commit(group);
        }
        // A clean end leaves nothing to replay.
        if let Err(error) = self.spill().and_then(|()| flush(&self.db)) {
            tracing::warn!(%error, "the index was not flushed; the next start replays the log");
        }
    }

    fn commit(&mut self, group: Vec<Commit>) {
        let mut overlay = Overlay::new();
        let mut rows = Vec::new();
        let mut accepted = Vec::with_capacity(group.len());
        let mut later = group.len();
        for commit in group {
            later -= 1;
            // What the last batch writes, no other one asks about.
            match self.apply(&commit, &mut overlay, later > 0, &mut rows) {
                Ok(()) => accepted.push(commit.answer),
                Err(error) => drop(commit.answer.send(Err(error))),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let written = match &self.broken {
            Some(why) => Err(why.clone()),
            None => self.write(rows),
        };
        if let Err(why) = &written
            && self.broken.is_none()
        {
            tracing::error!(error = %why, "the log failed; no write is accepted until a restart");
            self.broken = Some(why.clone());
        }
        answer(self.runtime.as_ref(), accepted, &written);
    }

    fn write(&mut self, rows: Vec<Row>) -> Result<(), String> {
        let text = |error: rocksdb::Error| error.to_string();
        self.end_checkpoint(false)?;
        let sequence = loop {
            match self.log.append(&rows) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.checkpoint.is_none() {
                        self.spill().and_then(|()| self.begin_checkpoint()).map_err(text)?;
                    }
                    self.end_checkpoint(true)?;
                }
                other => break other.map_err(|error| error.to_string())?,
            }
        };
        self.hot.written(&rows);
        let rows = self.passing.take(sequence, rows);
        let mark = Mark { applied: sequence, ..self.mark };
        self.indexed += index(&self.db, mark, &rows).map_err(text)?;
        self.mark = mark;
        let due = self.checkpoint.is_none() && (self.indexed >= INDEXED || self.log.is_checkpoint_due());
        if self.passing.too_many() || (due && self.log.is_crowded()) {
            self.spill().map_err(text)?;
        }
        if due {
            self.begin_checkpoint().map_err(text)?;
        }
        Ok(())
    }

    /// Gives the index what passes.
    fn spill(&mut self) -> Result<(), rocksdb::Error> {
        let mark = Mark { floor: self.mark.applied, ..self.mark };
        self.indexed += self.passing.spill(|rows| index(&self.db, mark, rows))?;
        self.mark = mark;
        Ok(())
    }

    /// Flushes the index beside further commits.
    fn begin_checkpoint(&mut self) -> Result<(), rocksdb::Error> {
        self.mark.floor = self.passing.floor(self.mark.applied);
        // What is flushed says so, or a start would look for entries that the log has no more.
        index(&self.db, self.mark, &[])?;
        self.indexed = 0;
        self.log.checkpoint_begins();
        let (done, end) = channel();
        let (db, floor) = (Arc::clone(&self.db), self.mark.floor);
        thread::spawn(move || drop(done.send(flush(&db).map(|()| floor))));
        self.checkpoint = Some(end);
        Ok(())
    }

    fn end_checkpoint(&mut self, wait: bool) -> Result<(), String> {
        let Some(end) = &self.checkpoint else { return Ok(()) };
        let outcome = if wait { end.recv().map_err(|_| TryRecvError::Disconnected) } else { end.try_recv() };
        match outcome {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => return Err("a checkpoint ended without a word".into()),
            Ok(flushed) => self.log.flushed(flushed.map_err(|error| error.to_string())?),
        }
        self.checkpoint = None;
        Ok(())
    }

    /// Checks a batch's guards against what is stored and what the group wrote before it, then adds its writes to `group` and, where
    /// later batches may ask about them, to `overlay`.
    fn apply(
        &mut self,
        commit: &Commit,
        overlay: &mut Overlay,
        show: bool,
        group: &mut Vec<Row>,
    ) -> Result<(), MetaError> {
        for (key, expected) in &commit.batch.guards {
            let row = full(commit.partition, key);
            let stored = self.read(overlay, &row)?;
            match expected {
                Expected::Absent if stored.is_none() => {}
                Expected::Value(value) if stored.as_ref() == Some(value) => {
                    // A row that is asked for and not written is asked for again: the state of a bucket.
                    if !commit.batch.writes.iter().any(|(written, _)| written == key) {
                        self.hot.keep(row, stored);
                    }
                }
                Expected::Absent | Expected::Value(_) => return Err(MetaError::Conflict),
            }
        }
        // Counters are read before anything of this batch is added, so that a failing read leaves no half of it behind.
        let mut rows: Vec<Row> = Vec::with_capacity(commit.batch.writes.len());
        for (key, write) in &commit.batch.writes {
            let key = full(commit.partition, key);
            let value = match write {
                Write::Put(value) => Some(value.clone()),
                Write::Delete => None,
                Write::Add(by) => {
                    let earlier = rows.iter().rev().find(|(row, _)| *row == key).map(|(_, value)| value.clone());
                    let stored = match earlier {
                        Some(value) => value,
                        None => self.read(overlay, &key)?,
                    };
                    self.hot.keep(key.clone(), stored.clone());
                    added(stored.as_deref(), *by).map(|row| Bytes::copy_from_slice(&row))
                }
            };
            rows.push((key, value));
        }
        if show {
            overlay.extend(rows.iter().cloned());
        }
        group.append(&mut rows);
        Ok(())
    }

    fn read(&self, overlay: &Overlay, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        if let Some(value) = overlay.get(key).or_else(|| self.hot.0.get(key)) {
            return Ok(value.clone());
        }
        if is_passing(key)
            && let Some(value) = self.passing.get(key)
        {
            return Ok(Some(value));
        }
        Ok(self.db.get(key).map_err(engine)?.map(Bytes::from))
    }
}

/// Rows that nearly every batch asks about, as the index holds them: only this thread writes there.
#[derive(Default)]
struct Hot(HashMap<Vec<u8>, Option<Bytes>>);

impl Hot {
    fn keep(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        if self.0.len() >= MAX_HOT && !self.0.contains_key(&key) {
            self.0.clear();
        }
        self.0.insert(key, value);
    }
    /// Takes over what was written.
    fn written(&mut self, rows: &[Row]) {
        for (key, value) in rows {
            if let Some(known) = self.0.get_mut(key) {
                known.clone_from(value);
            }
        }
    }
}
