//! Three shapes of a small durable write, side by side: (a) body and record in RocksDB's own log, (b) body and record in a log of
//! our own with RocksDB as an unsynced index, (c) a file for each body and the record in RocksDB's log.
//!
//! One thread commits in (a) and (b) and for the records of (c): whatever queued during the last sync shares the next one.
//! `cargo run --release -p tresor-benches --bin shapes [DIRECTORY]`; it stops by itself after about a minute and a half.

use rocksdb::{DB, Options, WriteBatch, WriteOptions};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a record beside a body weighs, in bytes.
const RECORD: usize = 600;
const SEGMENT: u64 = 64 << 20;
const ROUND: Duration = Duration::from_secs(3);

struct Commit {
    key: u64,
    body: Option<Arc<Vec<u8>>>,
    done: SyncSender<()>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    RocksLog,
    SegmentLog,
    FileEach,
}

fn open(directory: &Path) -> Result<DB, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(1024);
    options.set_write_buffer_size(32 << 20);
    DB::open(&options, directory)
}

/// A log of preallocated segments.
struct Segments {
    directory: PathBuf,
    file: File,
    at: u64,
    number: u32,
}

impl Segments {
    fn segment(directory: &Path, number: u32) -> std::io::Result<File> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(number.to_string()))?;
        // Written once with zeros, so that later syncs change no metadata.
        let zeros = vec![0; 1 << 20];
        for n in 0..SEGMENT >> 20 {
            file.write_all_at(&zeros, n << 20)?;
        }
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(file)
    }
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.at + bytes.len() as u64 > SEGMENT {
            // Two segments in turn stand for recycling.
            self.number = (self.number + 1) % 2;
            self.file = OpenOptions::new().write(true).open(self.directory.join(self.number.to_string()))?;
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.file.sync_data()
    }
}

fn committer(shape: Shape, directory: &Path, waiting: &Receiver<Commit>) -> Result<(), Failure> {
    let db = open(&directory.join("db"))?;
    let mut segments = match shape {
        Shape::SegmentLog => {
            let file = Segments::segment(directory, 0)?;
            Segments::segment(directory, 1)?;
            Some(Segments { directory: directory.to_owned(), file, at: 0, number: 0 })
        }
        Shape::RocksLog | Shape::FileEach => None,
    };
    let record = vec![0x5a; RECORD];
    while let Ok(first) = waiting.recv() {
        let group: Vec<Commit> = std::iter::once(first).chain(waiting.try_iter().take(255)).collect();
        let mut batch = WriteBatch::default();
        for commit in &group {
            batch.put(commit.key.to_be_bytes(), &record);
            if let Some(body) = &commit.body {
                batch.put([&commit.key.to_be_bytes()[..], b"b"].concat(), &body[..]);
            }
        }
        let mut options = WriteOptions::default();
        match &mut segments {
            Some(segments) => {
                segments.append(batch.data())?;
                options.disable_wal(true);
            }
            None => options.set_sync(true),
        }
        db.write_opt(batch, &options)?;
        for commit in group {
            commit.done.send(()).ok();
        }
    }
    Ok(())
}

/// Writes for one round; acknowledged writes a second and the median latency in microseconds.
fn round(shape: Shape, directory: &Path, size: usize, writers: usize) -> Result<(f64, u128), Failure> {
    let home = tempfile::tempdir_in(directory)?;
    let (commits, waiting) = sync_channel::<Commit>(4096);
    let place = home.path().to_owned();
    let committing = thread::spawn(move || committer(shape, &place, &waiting));
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let files = home.path().to_owned();
    let start = Instant::now();
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let (commits, stop, next, files) = (commits.clone(), Arc::clone(&stop), Arc::clone(&next), files.clone());
            thread::spawn(move || -> Result<Vec<u128>, Failure> {
                let body = Arc::new(vec![0xa5; size]);
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    let inside = match shape {
                        Shape::FileEach => {
                            let mut file = File::create(files.join(format!("body-{key}")))?;
                            file.write_all(&body)?;
                            file.sync_data()?;
                            File::open(&files)?.sync_all()?;
                            None
                        }
                        Shape::RocksLog | Shape::SegmentLog => Some(Arc::clone(&body)),
                    };
                    let (done, answer) = sync_channel(1);
                    commits.send(Commit { key, body: inside, done })?;
                    answer.recv()?;
                    times.push(begin.elapsed().as_micros());
                }
                Ok(times)
            })
        })
        .collect();
    drop(commits);
    thread::sleep(ROUND);
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().map_err(|_| "a writer panicked")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    committing.join().map_err(|_| "the committer panicked")??;
    times.sort_unstable();
    Ok((times.len() as f64 / seconds, times.get(times.len() / 2).copied().unwrap_or_default()))
}

fn main() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    println!("| body | writers | (a) RocksDB's log | (b) own log | (c) a file each | (b)/(a) | (c)/(a) |");
    println!("|---|---|---|---|---|---|---|");
    for size in [4 << 10, 32 << 10] {
        for writers in [1, 8, 32] {
            let mut cells = Vec::new();
            for shape in [Shape::RocksLog, Shape::SegmentLog, Shape::FileEach] {
                cells.push(round(shape, &directory, size, writers)?);
            }
            let shown: Vec<String> = cells.iter().map(|(rate, median)| format!("{rate:.0}/s, {median} µs")).collect();
            let base = cells[0].0;
            let ratios = format!("{:.2} | {:.2}", cells[1].0 / base, cells[2].0 / base);
            println!("| {} KiB | {writers} | {} | {ratios} |", size >> 10, shown.join(" | "));
        }
    }
    Ok(())
}
