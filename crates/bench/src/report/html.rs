//! The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

use super::{Chart, Line, Report, text::HEADINGS};
use crate::case::Size;
use std::fmt::Write as _;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;font-size:13px;margin:.5em 0}td,th{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}.faults{color:#b00}h2{margin-top:2em;font-size:17px}svg{max-width:100%;height:auto}\
@media print{h2{break-inside:avoid}}";

pub(crate) fn html(report: &Report) -> Result<String, String> {
    let machine = &report.machine;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>tresor bench, {date}</title><style>{STYLE}</style></head>\
<body><h1>tresor bench</h1><p>{date}; tresor {version}; {cores} cores, {model}{avx}, {memory}, Linux {kernel}; {rounds} rounds of {seconds} s, \
endpoints in turns. Figures are medians over the rounds; the ratio is the median of each round's ratio to the first endpoint. Bars show \
the median, the line in them the slowest and the fastest round.</p><ul>",
        date = escaped(&report.date),
        version = escaped(&report.version),
        cores = machine.cores,
        model = escaped(&machine.cpu_model),
        avx = if machine.avx512 { " with AVX-512" } else { "" },
        memory = Size(machine.memory_bytes >> 20 << 20),
        kernel = escaped(&machine.kernel),
        rounds = report.rounds,
        seconds = report.seconds_per_round,
    );
    for endpoint in &report.endpoints {
        let _ = write!(page, "<li>{}: {}</li>", escaped(&endpoint.name), escaped(&endpoint.url));
    }
    page.push_str("</ul>");
    for result in &report.results {
        let _ = write!(page, "<h2>{}</h2>{}<table><tr>", escaped(&result.name), Chart(result).svg()?);
        for heading in HEADINGS {
            let _ = write!(page, "<th>{heading}</th>");
        }
        page.push_str("</tr>");
        for endpoint in &result.endpoints {
            page.push_str("<tr>");
            for cell in Line::of(result, endpoint).cells() {
                let _ = write!(page, "<td>{}</td>", escaped(cell));
            }
            page.push_str("</tr>");
        }
        page.push_str("</table>");
        let samples = result.endpoints.iter().flat_map(|endpoint| &endpoint.rounds).flat_map(|round| &round.samples);
        for sample in samples.take(5) {
            let _ = write!(page, "<p class=\"faults\">{}</p>", escaped(sample));
        }
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
