//! What a run found: the JSON document, its summary, and its forms for people.

mod chart;
mod html;
mod text;

pub(crate) use chart::{Chart, png};
pub(crate) use html::html;
pub(crate) use text::{Line, table};

use crate::{case::Case, process::Machine, worker::Verify};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The number of this form of the document.
pub const FORM: u32 = 1;

/// A whole run. Times are in the unit that their names end with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub form: u32,
    /// Of Tresor, which made the load.
    pub version: String,
    pub date: String,
    pub machine: Machine,
    pub rounds: u32,
    pub seconds_per_round: f64,
    pub verify: Verify,
    pub endpoints: Vec<EndpointNamed>,
    pub results: Vec<CaseResult>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointNamed {
    pub name: String,
    pub url: String,
    pub server_pids: Vec<i32>,
}

/// A case, by endpoint, in the order of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    pub name: String,
    pub case: Case,
    pub endpoints: Vec<EndpointResult>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointResult {
    pub endpoint: String,
    /// Why it was not measured.
    pub skipped: Option<String>,
    pub rounds: Vec<Round>,
    pub median: Option<Median>,
}

/// One round as it was counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    pub seconds: f64,
    /// Those that succeeded; of a multipart upload, its parts.
    pub requests: u64,
    pub errors: u64,
    /// Answers whose content was not what was written.
    pub wrong: u64,
    /// Reads of which every byte was compared.
    pub verified: u64,
    pub bytes: u64,
    /// That LIST showed.
    pub keys: u64,
    pub requests_per_second: f64,
    pub bytes_per_second: f64,
    pub latency_ms: Latency,
    pub client_cpu_us_per_request: f64,
    /// `None` when the server's processes are not known.
    pub server: Option<ServerUse>,
    /// Processors that neither this program nor the server used: above 0.3 rates mean little.
    pub other_cores: f64,
    /// Processors that the hypervisor took away.
    pub stolen_cores: f64,
    /// What went wrong.
    pub samples: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// Percentile and milliseconds, for a curve.
    pub curve: Vec<(f64, f64)>,
}

/// Where the curve of a distribution is drawn, in percent: evenly in nines.
const CURVE: [f64; 14] = [0.0, 10.0, 25.0, 50.0, 68.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.99, 100.0];

impl Latency {
    /// From nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |percent: f64| histogram.value_at_quantile(percent / 100.0) as f64 / 1e6;
        Self {
            mean: histogram.mean() / 1e6,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: histogram.max() as f64 / 1e6,
            curve: CURVE.iter().map(|percent| (*percent, at(*percent))).collect(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerUse {
    pub cpu_us_per_request: f64,
    pub cpu_seconds_per_gigabyte: Option<f64>,
    pub resident_bytes: u64,
    /// During the round.
    pub peak_resident_bytes: u64,
    pub written_bytes: u64,
}

/// The middle of the rounds, figure by figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Median {
    pub requests_per_second: f64,
    pub bytes_per_second: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub client_cpu_us_per_request: f64,
    pub server_cpu_us_per_request: Option<f64>,
    pub server_cpu_seconds_per_gigabyte: Option<f64>,
    pub peak_resident_bytes: Option<u64>,
    pub other_cores: f64,
    /// Of the rates, round by round, to the first endpoint that was measured.
    pub ratio: Option<f64>,
    /// Of the server's processor time for a request, likewise.
    pub server_cpu_ratio: Option<f64>,
    pub errors: u64,
    pub wrong: u64,
}

fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        n => Some(f64::midpoint(values[n / 2 - 1], values[n / 2])),
    }
}

impl CaseResult {
    /// Fills in the medians and the ratios to the first endpoint that has rounds.
    pub(crate) fn summarise(&mut self) {
        let base = self.endpoints.iter().find(|endpoint| !endpoint.rounds.is_empty()).map(|found| found.rounds.clone());
        let is_bulk = self.case.is_bulk();
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| !endpoint.rounds.is_empty()) {
            endpoint.median = Some(summary(&endpoint.rounds, base.as_deref().unwrap_or(&[]), is_bulk));
        }
    }
}

fn summary(rounds: &[Round], base: &[Round], is_bulk: bool) -> Median {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure)).unwrap_or(0.0);
    let cost = |round: &Round| round.server.as_ref().map(|server| server.cpu_us_per_request);
    let ratio = |figure: &dyn Fn(&Round) -> Option<f64>| {
        median(rounds.iter().zip(base).filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?)))
    };
    let rate = |round: &Round| Some(if is_bulk { round.bytes_per_second } else { round.requests_per_second });
    let servers = || rounds.iter().filter_map(|round| round.server.as_ref());
    Median {
        requests_per_second: of(|round| round.requests_per_second),
        bytes_per_second: of(|round| round.bytes_per_second),
        p50_ms: of(|round| round.latency_ms.p50),
        p90_ms: of(|round| round.latency_ms.p90),
        p99_ms: of(|round| round.latency_ms.p99),
        p999_ms: of(|round| round.latency_ms.p999),
        client_cpu_us_per_request: of(|round| round.client_cpu_us_per_request),
        server_cpu_us_per_request: median(rounds.iter().filter_map(cost)),
        server_cpu_seconds_per_gigabyte: median(servers().filter_map(|server| server.cpu_seconds_per_gigabyte)),
        peak_resident_bytes: servers().map(|server| server.peak_resident_bytes).max(),
        other_cores: of(|round| round.other_cores),
        ratio: ratio(&rate),
        server_cpu_ratio: ratio(&cost),
        errors: rounds.iter().map(|round| round.errors).sum(),
        wrong: rounds.iter().map(|round| round.wrong).sum(),
    }
}

impl Report {
    /// Errors and wrong answers of all rounds.
    pub fn faults(&self) -> (u64, u64) {
        let rounds = self.results.iter().flat_map(|result| &result.endpoints).flat_map(|endpoint| &endpoint.rounds);
        rounds.fold((0, 0), |(errors, wrong), round| (errors + round.errors, wrong + round.wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([f64::NAN, 1.0]), Some(1.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let round = |rate: f64| Round {
            seconds: 1.0,
            requests: 1,
            errors: 0,
            wrong: 0,
            verified: 0,
            bytes: 0,
            keys: 0,
            requests_per_second: rate,
            bytes_per_second: 0.0,
            latency_ms: Latency::default(),
            client_cpu_us_per_request: 0.0,
            server: None,
            other_cores: 0.0,
            stolen_cores: 0.0,
            samples: Vec::new(),
        };
        // A slow round is slow for both.
        let (base, ours) = ([100.0, 10.0, 80.0].map(round), [50.0, 5.0, 60.0].map(round));
        let found = summary(&ours, &base, false);
        assert_eq!(found.ratio, Some(0.5));
        assert_eq!(found.requests_per_second, 50.0);
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new_with_max(1_000_000_000, 3).expect("bounds");
        for n in 1..=1000_u64 {
            histogram.record(n * 1000).expect("within bounds");
        }
        let latency = Latency::of(&histogram);
        for (found, expected) in [(latency.p50, 0.5), (latency.p99, 0.99), (latency.p999, 0.999), (latency.max, 1.0)] {
            assert!((found - expected).abs() < 0.002, "{found} is not {expected}");
        }
    }
}
