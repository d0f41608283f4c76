//! Tables for terminals.

use super::{CaseResult, EndpointResult};
use std::fmt::Write as _;

/// One endpoint's line: what text and HTML both show.
pub(crate) struct Line {
    pub endpoint: String,
    pub rate: String,
    pub ratio: String,
    pub p50: String,
    pub p99: String,
    pub p999: String,
    pub server: String,
    pub client: String,
    pub memory: String,
    pub others: String,
    pub faults: String,
}

pub(crate) const HEADINGS: [&str; 11] = [
    "endpoint",
    "rate",
    "ratio",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server CPU",
    "client CPU",
    "peak RSS",
    "other cores",
    "faults",
];

impl Line {
    pub(crate) fn of(result: &CaseResult, endpoint: &EndpointResult) -> Self {
        let is_bulk = result.case.is_bulk();
        let Some(median) = &endpoint.median else {
            let why = endpoint.skipped.clone().unwrap_or_default();
            let no = String::new;
            return Self {
                endpoint: endpoint.endpoint.clone(),
                rate: format!("not measured: {why}"),
                ratio: no(),
                p50: no(),
                p99: no(),
                p999: no(),
                server: no(),
                client: no(),
                memory: no(),
                others: no(),
                faults: no(),
            };
        };
        let rate = match is_bulk {
            true => format!("{} MB/s", short(median.bytes_per_second / 1e6)),
            false => format!("{}/s", short(median.requests_per_second)),
        };
        let server = match (is_bulk, median.server_cpu_seconds_per_gigabyte, median.server_cpu_us_per_request) {
            (true, Some(seconds), _) => format!("{} s/GB", short(seconds)),
            (_, _, Some(microseconds)) => format!("{} us", short(microseconds)),
            _ => "-".into(),
        };
        Self {
            endpoint: endpoint.endpoint.clone(),
            rate,
            ratio: median.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            p50: short(median.p50_ms),
            p99: short(median.p99_ms),
            p999: short(median.p999_ms),
            server,
            client: format!("{} us", short(median.client_cpu_us_per_request)),
            memory: median.peak_resident_bytes.map_or("-".into(), |bytes| format!("{} MiB", bytes >> 20)),
            others: format!("{:.1}", median.other_cores),
            faults: match (median.errors, median.wrong) {
                (0, 0) => String::new(),
                (errors, wrong) => format!("{errors} errors, {wrong} wrong"),
            },
        }
    }

    pub(crate) fn cells(&self) -> [&str; 11] {
        [
            &self.endpoint,
            &self.rate,
            &self.ratio,
            &self.p50,
            &self.p99,
            &self.p999,
            &self.server,
            &self.client,
            &self.memory,
            &self.others,
            &self.faults,
        ]
    }
}

/// Three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// The lines of one case, aligned.
pub(crate) fn table(result: &CaseResult) -> String {
    let lines: Vec<Line> = result.endpoints.iter().map(|endpoint| Line::of(result, endpoint)).collect();
    let rows: Vec<[&str; 11]> = std::iter::once(HEADINGS).chain(lines.iter().map(Line::cells)).collect();
    let mut text = format!("{}\n", result.name);
    for row in &rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            let _ = if column == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (endpoint, sample) in result.endpoints.iter().flat_map(|endpoint| {
        endpoint.rounds.iter().flat_map(|round| &round.samples).take(2).map(|sample| (&endpoint.endpoint, sample))
    }) {
        let _ = writeln!(text, "  {endpoint}: {sample}");
    }
    text
}
