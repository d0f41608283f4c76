//! A whole run: the cases that the flags name, each in rounds, the endpoints in turns.

use crate::{
    args::{MAX_CONCURRENCY, ReportArgs, RunArgs},
    case::{Case, Operation},
    client::Payload,
    measure::{self, Pace},
    process::{Held, Machine},
    report::{self, CaseResult, EndpointNamed, EndpointResult, FORM, Report},
    targets::{self, Defaults, Target},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Objects that are there to be read, when nothing is said: as many as fit, at most so many.
const FILL_BYTES: u64 = 256 << 20;
const FILL_OBJECTS: u64 = 1000;
/// A round of a day measures nothing that one of an hour does not.
const MAX_SECONDS: f64 = 3600.0;

pub(crate) fn run(args: RunArgs) -> Result<(), String> {
    let cases = cases(&args)?;
    let credentials = match (std::env::var("AWS_ACCESS_KEY_ID"), std::env::var("AWS_SECRET_ACCESS_KEY")) {
        (Ok(key), Ok(secret)) => Some((key, secret)),
        _ => None,
    };
    let defaults = Defaults {
        credentials,
        region: args.region.clone(),
        bucket: args.bucket.clone(),
        ca: args.ca.clone(),
        kms_key: args.kms_key.clone(),
        server_pids: args.server_pid.clone(),
    };
    let targets = targets::targets(args.targets.as_deref(), &args.endpoint, &defaults)?;
    let duration = seconds(args.duration, "--duration")?;
    let pace =
        Pace { duration, warm_up: seconds(args.warm_up, "--warm-up")?, requests: args.requests, verify: args.verify };
    let run = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros()));
    let prefix = args.prefix.clone().unwrap_or_else(|| format!("bench-{run}/"));
    if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)) {
        return Err("--prefix: letters, digits and -_./ only".into());
    }
    let bar = match args.quiet {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(cases.len() as u64 * targets.len() as u64 * u64::from(args.rounds)),
    };
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {msg}").map_err(|error| error.to_string())?;
    bar.set_style(style);
    let mut report = Report {
        form: FORM,
        version: env!("CARGO_PKG_VERSION").into(),
        date: OffsetDateTime::now_utc().format(&Rfc3339).map_err(|error| error.to_string())?,
        machine: Machine::here(),
        rounds: args.rounds,
        seconds_per_round: args.duration,
        verify: args.verify,
        endpoints: targets.iter().map(named).collect(),
        results: Vec::new(),
    };
    for target in &targets {
        measure::make_bucket(target, &cases[0])?;
    }
    let course = Running {
        targets: &targets,
        pace,
        prefix: &prefix,
        run: &run,
        rounds: args.rounds,
        hold_others: args.hold_others,
        bar: &bar,
    };
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let mut filled = HashSet::new();
    for case in cases {
        let result = course.case(case, &mut filled);
        if !to_stdout {
            bar.suspend(|| say(&report::table(&result)))?;
        }
        report.results.push(result);
    }
    let cleaned = match args.keep {
        true => Ok(()),
        false => {
            bar.set_message("cleaning up");
            targets.iter().try_for_each(|target| {
                measure::clean(target, &report.results[0].case, &prefix)
                    .map_err(|error| format!("{}: objects under {prefix} are left: {error}", target.name))
            })
        }
    };
    bar.finish_and_clear();
    if to_stdout {
        say(&serde_json::to_string(&report).map_err(|error| error.to_string())?)?;
    }
    write(&report, args.json.as_deref().filter(|_| !to_stdout), args.html.as_deref(), args.png.as_deref())?;
    match report.faults() {
        (0, 0) => cleaned,
        (errors, 0) => Err(format!("{errors} requests failed")),
        (errors, wrong) => Err(format!("{wrong} answers were WRONG, {errors} requests failed")),
    }
}

/// Makes the files of runs that were kept.
pub(crate) fn report(args: &ReportArgs) -> Result<(), String> {
    let mut whole: Option<Report> = None;
    for file in &args.files {
        let text = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let bytes = fs::read(file).map_err(|error| text(&error))?;
        let one: Report = serde_json::from_slice(&bytes).map_err(|error| text(&error))?;
        if one.form != FORM {
            return Err(text(&format!("form {}: this program knows form {FORM}", one.form)));
        }
        match &mut whole {
            None => whole = Some(one),
            Some(whole) => whole.results.extend(one.results),
        }
    }
    let whole = whole.ok_or("no file")?;
    for result in &whole.results {
        say(&report::table(result))?;
    }
    write(&whole, None, args.html.as_deref(), args.png.as_deref())
}

/// A line for whoever reads, who may have gone away.
fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("standard output cannot be written: {error}"))
}

fn write(report: &Report, json: Option<&Path>, html: Option<&Path>, png: Option<&Path>) -> Result<(), String> {
    let put =
        |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()));
    if let Some(path) = json {
        put(path, &serde_json::to_vec(report).map_err(|error| error.to_string())?)?;
    }
    if let Some(path) = html {
        put(path, report::html(report)?.as_bytes())?;
    }
    if let Some(path) = png {
        put(path, &report::png(report)?)?;
    }
    Ok(())
}

fn named(target: &Target) -> EndpointNamed {
    EndpointNamed { name: target.name.clone(), url: target.url.clone(), server_pids: target.server_pids.clone() }
}

fn seconds(value: f64, flag: &str) -> Result<Duration, String> {
    match (0.0..=MAX_SECONDS).contains(&value) {
        true => Ok(Duration::from_secs_f64(value)),
        false => Err(format!("{flag}: 0 to {MAX_SECONDS} seconds")),
    }
}

/// The product of what the flags list, without what makes no difference to an operation.
fn cases(args: &RunArgs) -> Result<Vec<Case>, String> {
    if args.concurrency.iter().any(|clients| !(1..=MAX_CONCURRENCY).contains(clients)) {
        return Err(format!("--concurrency: 1 to {MAX_CONCURRENCY}"));
    }
    if args.part.0 == 0 || args.range.0 == 0 {
        return Err("--part and --range: at least one byte".into());
    }
    let mut cases: Vec<Case> = Vec::new();
    for operation in &args.op {
        for size in &args.size {
            for concurrency in &args.concurrency {
                for encryption in &args.sse {
                    for payload in &args.payload {
                        let room = (FILL_BYTES / size.0.max(1)).clamp(1, FILL_OBJECTS);
                        let mut case = Case {
                            operation: *operation,
                            size: size.0,
                            concurrency: *concurrency,
                            encryption: *encryption,
                            payload: if operation.writes() { *payload } else { Payload::Unsigned },
                            objects: args.objects.unwrap_or(room).max(1),
                            range: args.range.0.min(size.0),
                            part: args.part.0,
                            page: args.page,
                        };
                        if *operation == Operation::List {
                            // What is listed is small, is not read, and is not encrypted differently.
                            (case.size, case.range) = (0, 0);
                            case.objects = args.objects.unwrap_or(FILL_OBJECTS).max(1);
                            case.encryption = crate::case::Encryption::None;
                        }
                        if !cases.contains(&case) {
                            cases.push(case);
                        }
                    }
                }
            }
        }
    }
    Ok(cases)
}

struct Running<'a> {
    targets: &'a [Target],
    pace: Pace,
    prefix: &'a str,
    run: &'a str,
    rounds: u32,
    /// The other servers stand still during a turn.
    hold_others: bool,
    bar: &'a ProgressBar,
}

impl Running<'_> {
    fn case(&self, case: Case, filled: &mut HashSet<(usize, String, u64)>) -> CaseResult {
        let name = case.to_string();
        let mut endpoints: Vec<EndpointResult> = self
            .targets
            .iter()
            .map(|target| EndpointResult {
                endpoint: target.name.clone(),
                skipped: (!target.offers(&case)).then(|| "not offered".to_owned()),
                rounds: Vec::new(),
                median: None,
            })
            .collect();
        let servers: Vec<i32> = self.targets.iter().flat_map(|target| target.server_pids.iter().copied()).collect();
        let mut held = Held::default();
        for round in 0..self.rounds {
            for turn in 0..self.targets.len() {
                // Whoever begins gains or loses by it: each begins in its turn.
                let at = (turn + round as usize) % self.targets.len();
                let (target, result) = (&self.targets[at], &mut endpoints[at]);
                self.bar.set_message(format!("{name} at {}", target.name));
                self.bar.tick();
                if result.skipped.is_none() {
                    if self.hold_others {
                        held.turn(&target.server_pids, &servers);
                    }
                    match self.round(at, target, &case, round, filled) {
                        Ok(measured) => result.rounds.push(measured),
                        Err(why) => result.skipped = Some(why),
                    }
                }
                self.bar.inc(1);
            }
        }
        let mut result = CaseResult { name, case, endpoints };
        result.summarise();
        result
    }

    fn round(
        &self,
        at: usize,
        target: &Target,
        case: &Case,
        round: u32,
        filled: &mut HashSet<(usize, String, u64)>,
    ) -> Result<report::Round, String> {
        let case = &target.asked(case);
        let reads = case.operation.reads() || case.operation == Operation::List;
        let own = || {
            let name = case.to_string().replace(['/', ' '], "-").to_ascii_lowercase();
            format!("{}{name}-{}/{round}/", self.prefix, self.run)
        };
        let prefix = if reads { case.fill_prefix(self.prefix) } else { own() };
        if case.operation == Operation::Delete || reads && !filled.contains(&(at, prefix.clone(), case.objects)) {
            measure::fill(target, case, &prefix).map_err(|error| format!("cannot be filled: {error}"))?;
            filled.insert((at, prefix.clone(), case.objects));
        }
        let measured = measure::measure(target, case, &prefix, &self.pace);
        match measured.requests {
            0 => Err(measured.samples.first().cloned().unwrap_or_else(|| "nothing was answered in time".into())),
            _ => Ok(measured),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: crate::BenchArgs,
    }

    fn names(line: &str) -> Vec<String> {
        let args = Line::parse_from(line.split(' ')).bench.run;
        cases(&args).expect("sound flags").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cases_are_the_product_of_the_flags_without_what_makes_no_difference() {
        assert_eq!(
            names("bench --op put,get --size 4KiB,1MiB --concurrency 1,8 --payload unsigned,signed --sse none,c").len(),
            2 * 2 * 2 * 2 + 2 * 2 * 2
        );
        assert_eq!(names("bench --op list --size 4KiB,1MiB --sse s3,c"), ["list 1000/page of 1000 c8"; 1]);
        assert_eq!(names("bench --op range --size 1GiB --sse kms"), ["range 64 KiB of 1 GiB c8 sse-kms"]);
        assert_eq!(names("bench --op put --payload trailer"), ["put 4 KiB c8 trailer"]);
    }

    #[test]
    fn bounds_are_kept() {
        for flags in ["--concurrency 0", "--concurrency 513", "--part 0", "--range 0"] {
            let args = Line::parse_from(format!("bench {flags}").split(' ')).bench.run;
            assert!(cases(&args).is_err(), "{flags}");
        }
        assert!(seconds(f64::NAN, "").is_err() && seconds(-1.0, "").is_err() && seconds(1e9, "").is_err());
    }
}
