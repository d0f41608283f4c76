//! One round: a case against one endpoint, and what it cost on both sides.

use crate::{
    body::Body,
    case::{Case, Encryption, Operation},
    client::{Payload, Upload, encoded},
    process,
    report::{Latency, Round, ServerUse},
    targets::Target,
    worker::{Counts, Course, Verify, Worker, elements},
};
use parking_lot::Mutex;
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A client needs no more: bodies are not on its stack.
const STACK: usize = 512 << 10;
/// Objects above this are filled by parts.
const FILL_BY_PARTS: u64 = 64 << 20;
/// Connections that fill and clean up.
const HELPERS: usize = 8;
/// Part numbers go to 10,000.
const MAX_PARTS: u64 = 10_000;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub duration: Duration,
    pub warm_up: Duration,
    /// At most; 0 is no limit.
    pub requests: u64,
    pub verify: Verify,
}

/// Makes the bucket; one that is there already is as good.
pub(crate) fn make_bucket(target: &Target, case: &Case) -> Result<(), String> {
    let course = Course::new(target, case, "");
    let mut worker = Worker::new(&course, 0);
    let path = format!("/{}", target.bucket);
    let request =
        crate::client::Request { method: "PUT", path: &path, query: "", headers: &[], upload: None, document: b"" };
    let answer = worker
        .call(&request, crate::client::Want::Count)
        .map_err(|error| format!("{} cannot be reached at {}: {error}", target.name, target.url))?;
    let text = String::from_utf8_lossy(&answer.text);
    // Somebody else's is found out by the first request; some servers say so of one's own.
    match answer.is_success() || text.contains("BucketAlreadyOwnedByYou") || text.contains("BucketAlreadyExists") {
        true => Ok(()),
        false => {
            Err(format!("{}: the bucket {} cannot be made: HTTP {} {text}", target.name, target.bucket, answer.status))
        }
    }
}

/// Puts the objects that a case reads, unless the last of them is there; reads one back.
pub(crate) fn fill(target: &Target, case: &Case, prefix: &str) -> Result<(), String> {
    let mut writing = Case { operation: Operation::Put, payload: Payload::Unsigned, ..case.clone() };
    if case.operation == Operation::List {
        (writing.size, writing.encryption) = (LISTED_SIZE, Encryption::None);
    }
    let course = Course { requests: case.objects, ..Course::new(target, &writing, prefix) };
    let last = format!("/{}/{prefix}{:08}", target.bucket, case.objects.saturating_sub(1));
    let mut first = Worker::new(&course, 0);
    if first.declared_length(&last) != Some(Some(writing.size)) {
        if writing.size > FILL_BY_PARTS {
            for number in 0..case.objects {
                let workers: Vec<_> = (0..2).map(|n| Mutex::new(Worker::new(&course, n))).collect();
                multipart(&course, &workers, number, &AtomicBool::new(false))?;
            }
        } else {
            let counts = in_parallel(&course, HELPERS, |worker| while worker.step(false) {});
            if counts.errors > 0 {
                return Err(counts.samples.join("; "));
            }
        }
    }
    let mut reader = Worker::new(&course, 0);
    reader.get(0, None);
    match reader.counts.errors + reader.counts.wrong {
        0 => Ok(()),
        _ => Err(reader.counts.samples.join("; ")),
    }
}

/// Bytes of an object that is there to be listed.
const LISTED_SIZE: u64 = 64;

/// Deletes everything under a prefix.
pub(crate) fn clean(target: &Target, case: &Case, prefix: &str) -> Result<(), String> {
    let listing = Case { encryption: Encryption::None, ..case.clone() };
    let course = Course::new(target, &listing, prefix);
    let mut lister = Worker::new(&course, 0);
    loop {
        let Some((keys, next)) = lister.page(prefix, None, 1000) else { return Err(lister.counts.samples.join("; ")) };
        let at = AtomicU64::new(0);
        let counts = in_parallel(&course, HELPERS, |worker| {
            while let Some(key) = keys.get(at.fetch_add(1, Ordering::Relaxed) as usize) {
                worker.delete_path(&format!("/{}/{key}", target.bucket));
            }
        });
        if counts.errors > 0 {
            return Err(counts.samples.join("; "));
        }
        if next.is_none() || keys.is_empty() {
            return Ok(());
        }
    }
}

fn in_parallel<'a>(course: &'a Course<'a>, clients: usize, run: impl Fn(&mut Worker<'a>) + Sync) -> Counts {
    let total = Mutex::new(Counts::default());
    thread::scope(|scope| {
        for number in 0..clients {
            let (total, run) = (&total, &run);
            scope.spawn(move || {
                let mut worker = Worker::new(course, number);
                run(&mut worker);
                total.lock().add(worker.counts);
            });
        }
    });
    total.into_inner()
}

/// What was used up to a moment.
struct Reading {
    at: Instant,
    client: Duration,
    server: process::Usage,
    machine: (Duration, Duration),
}

impl Reading {
    fn take(target: &Target, reset_peak: bool) -> Self {
        Self {
            at: Instant::now(),
            client: process::own_cpu(),
            server: process::usage(&target.server_pids, reset_peak),
            machine: process::machine_cpu(),
        }
    }
}

/// Runs a case against an endpoint.
pub(crate) fn measure(target: &Target, case: &Case, prefix: &str, pace: &Pace) -> Round {
    crate::body::pattern();
    let course = Course { verify: pace.verify, requests: pace.requests, ..Course::new(target, case, prefix) };
    let (counts, before) = match case.operation {
        Operation::Multipart => run_uploads(&course, pace),
        _ => run_requests(&course, pace),
    };
    let after = Reading::take(target, false);
    summed(target, &counts, &before, &after)
}

/// How often clients that have warmed up look whether they may begin.
const GLANCE: Duration = Duration::from_micros(200);

fn run_requests(course: &Course<'_>, pace: &Pace) -> (Counts, Reading) {
    let (warmed, running) = (AtomicU64::new(0), AtomicU64::new(0));
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let total = Mutex::new(Counts::default());
    let client = |number: usize| {
        let mut worker = Worker::new(course, number);
        // Deleting has only so many objects.
        if course.case.operation != Operation::Delete {
            let warming = Instant::now();
            while warming.elapsed() < pace.warm_up && worker.step(true) {}
        }
        // Errors while warming up count, the rest does not.
        let Counts { errors, wrong, samples, .. } = std::mem::take(&mut worker.counts);
        worker.counts = Counts { errors, wrong, samples, ..Counts::default() };
        warmed.fetch_add(1, Ordering::Relaxed);
        while !go.load(Ordering::Acquire) {
            thread::sleep(GLANCE);
        }
        // At least one request each, however short the round is.
        while worker.step(false) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        running.fetch_sub(1, Ordering::Relaxed);
        total.lock().add(worker.counts);
    };
    let before = thread::scope(|scope| {
        for number in 0..course.case.concurrency {
            let client = &client;
            match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || client(number)) {
                Ok(_) => {
                    running.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    total.lock().fail(&format!("no thread for client {number}: {error}"));
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        let clients = running.load(Ordering::Relaxed);
        while warmed.load(Ordering::Relaxed) < clients {
            thread::sleep(GLANCE);
        }
        let before = Reading::take(course.target, true);
        go.store(true, Ordering::Release);
        while before.at.elapsed() < pace.duration && running.load(Ordering::Relaxed) > 0 {
            thread::sleep(pace.duration.saturating_sub(before.at.elapsed()).min(Duration::from_millis(10)));
        }
        stop.store(true, Ordering::Relaxed);
        before
    });
    (total.into_inner(), before)
}

fn run_uploads(course: &Course<'_>, pace: &Pace) -> (Counts, Reading) {
    let workers: Vec<_> = (0..course.case.concurrency).map(|number| Mutex::new(Worker::new(course, number))).collect();
    let before = Reading::take(course.target, true);
    let stop = AtomicBool::new(false);
    let mut failed = Counts::default();
    // At least one; the last one is not cut off.
    for number in 0.. {
        if number > 0 && before.at.elapsed() >= pace.duration || pace.requests > 0 && number >= pace.requests {
            break;
        }
        if let Err(error) = multipart(course, &workers, number, &stop) {
            failed.fail(&error);
            break;
        }
    }
    for worker in workers {
        failed.add(worker.into_inner().counts);
    }
    (failed, before)
}

/// One multipart upload, its parts sent by all the workers; one that fails is aborted.
fn multipart(course: &Course<'_>, workers: &[Mutex<Worker<'_>>], number: u64, stop: &AtomicBool) -> Result<(), String> {
    let path = format!("/{}/{}{number:08}", course.target.bucket, course.prefix);
    let first = workers.first().ok_or("no client")?;
    let made = first.lock().post(&path, "uploads=", b"", true)?;
    let id = elements(&made, "UploadId").first().map(|id| encoded(id)).ok_or("no UploadId")?;
    let done = send_parts(course, workers, number, stop, &path, &id).and_then(|document| {
        first.lock().post(&path, &format!("uploadId={id}"), document.as_bytes(), false)?;
        Ok(())
    });
    if done.is_err() {
        first.lock().abort(&path, &format!("uploadId={id}"));
    }
    done
}

/// Sends all parts; the document that completes the upload.
fn send_parts(
    course: &Course<'_>,
    workers: &[Mutex<Worker<'_>>],
    number: u64,
    stop: &AtomicBool,
    path: &str,
    id: &str,
) -> Result<String, String> {
    let Case { size, part, payload, .. } = *course.case;
    let body = Body::of(course.prefix, number, size);
    let count = size.div_ceil(part.max(1)).max(1);
    if count > MAX_PARTS {
        return Err(format!("{count} parts: S3 takes {MAX_PARTS}"));
    }
    let next = AtomicU64::new(0);
    let etags: Vec<Mutex<Option<String>>> = (0..count).map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for worker in workers {
            let (next, etags, body) = (&next, &etags, &body);
            scope.spawn(move || {
                let mut worker = worker.lock();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let upload = Upload { body, from: n * part, to: size.min((n + 1) * part), payload };
                    let query = format!("partNumber={}&uploadId={id}", n + 1);
                    let etag = worker.put_part(path, &query, upload);
                    if etag.is_none() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    *etags[n as usize].lock() = etag;
                }
            });
        }
    });
    let mut document = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (n, etag) in etags.into_iter().enumerate() {
        let etag = etag.into_inner().ok_or("a part failed")?;
        let _ = write!(document, "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", n + 1);
    }
    document.push_str("</CompleteMultipartUpload>");
    Ok(document)
}

fn summed(target: &Target, counts: &Counts, before: &Reading, after: &Reading) -> Round {
    let seconds = (after.at - before.at).as_secs_f64();
    let requests = counts.latency.len();
    let each = requests.max(1) as f64;
    let client = (after.client - before.client).as_secs_f64();
    let server = after.server.cpu.saturating_sub(before.server.cpu).as_secs_f64();
    let busy = after.machine.0.saturating_sub(before.machine.0).as_secs_f64();
    let stolen = after.machine.1.saturating_sub(before.machine.1).as_secs_f64();
    let gigabytes = counts.bytes as f64 / 1e9;
    let known = !target.server_pids.is_empty();
    Round {
        seconds,
        requests,
        errors: counts.errors,
        wrong: counts.wrong,
        verified: counts.verified,
        bytes: counts.bytes,
        keys: counts.keys,
        requests_per_second: requests as f64 / seconds,
        bytes_per_second: counts.bytes as f64 / seconds,
        latency_ms: Latency::of(&counts.latency),
        client_cpu_us_per_request: client * 1e6 / each,
        server: known.then(|| ServerUse {
            cpu_us_per_request: server * 1e6 / each,
            cpu_seconds_per_gigabyte: (gigabytes > 0.0).then(|| server / gigabytes),
            resident_bytes: after.server.resident_bytes,
            peak_resident_bytes: after.server.peak_resident_bytes,
            written_bytes: after.server.written_bytes.saturating_sub(before.server.written_bytes),
        }),
        other_cores: ((busy - client - if known { server } else { 0.0 }) / seconds).max(0.0),
        stolen_cores: stolen / seconds,
        samples: counts.samples.clone(),
    }
}
