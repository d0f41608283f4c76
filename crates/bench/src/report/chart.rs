//! The charts of a report: for each case the rates by endpoint and the distribution of latencies; drawn once, onto SVG for the HTML
//! file or onto pixels for a PNG, whose text is a bitmap font that is built in, so that no font has to be installed.

use super::{CaseResult, EndpointResult, Report};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, DrawingArea, IntoDrawingArea, IntoFont, IntoLogRange, LineSeries, RGBColor, Rectangle,
        SVGBackend, Text, WHITE,
    },
    style::{BLACK, Color, text_anchor},
};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;

const WIDTH: u32 = 960;
const ROW: u32 = 230;
/// A PNG of more rows would be too tall for viewers; the HTML file has them all.
const MAX_PNG_ROWS: usize = 60;
/// Told apart by people who see colours differently: Okabe and Ito, "Color Universal Design".
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(110, 110, 110),
];
const FONT: &str = "sans-serif";

/// Draws one case.
pub(crate) struct Chart<'a>(pub &'a CaseResult);

impl Chart<'_> {
    /// An `<svg>` element.
    pub(crate) fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, ROW)).into_drawing_area();
            self.draw(&area).map_err(|error| error.to_string())?;
            area.present().map_err(|error| error.to_string())?;
        }
        Ok(svg)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Failed<B>> {
        area.fill(&WHITE)?;
        let measured: Vec<(usize, &EndpointResult)> =
            self.0.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.median.is_some()).collect();
        if measured.is_empty() {
            return area.draw(&Text::new(format!("{}: not measured", self.0.name), (20, 20), (FONT, 15).into_font()));
        }
        let (left, right) = area.split_horizontally(WIDTH / 2);
        self.rates(&left, &measured)?;
        self.latencies(&right, &measured)
    }

    fn rate(&self, requests: f64, bytes: f64) -> f64 {
        if self.0.case.is_bulk() { bytes / 1e6 } else { requests }
    }

    /// A bar for each endpoint, with a line from the slowest round to the fastest.
    fn rates<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        measured: &[(usize, &EndpointResult)],
    ) -> Result<(), Failed<B>> {
        let rates: Vec<Vec<f64>> = measured
            .iter()
            .map(|(_, endpoint)| {
                endpoint
                    .rounds
                    .iter()
                    .map(|round| self.rate(round.requests_per_second, round.bytes_per_second))
                    .collect()
            })
            .collect();
        let most = rates.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let unit = if self.0.case.is_bulk() { "MB/s" } else { "requests/s" };
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{} ({unit})", self.0.name), (FONT, 15))
            .margin(10)
            .x_label_area_size(24)
            .build_cartesian_2d(0.0..most * 1.05, 0.0..measured.len() as f64)?;
        chart.configure_mesh().disable_y_mesh().disable_y_axis().x_labels(5).label_style((FONT, 12)).draw()?;
        for (row, ((colour, endpoint), rates)) in measured.iter().zip(&rates).enumerate() {
            let Some(median) = &endpoint.median else { continue };
            let rate = self.rate(median.requests_per_second, median.bytes_per_second);
            let from = (measured.len() - 1 - row) as f64;
            let colour = COLOURS[colour % COLOURS.len()];
            chart
                .draw_series([Rectangle::new([(0.0, from + 0.12), (rate, from + 0.88)], colour.mix(0.55).filled())])?;
            let ends = rates.iter().copied().fold((f64::MAX, 0.0), |(low, high), rate| (rate.min(low), rate.max(high)));
            chart.draw_series(LineSeries::new([(ends.0, from + 0.2), (ends.1, from + 0.2)], BLACK.stroke_width(1)))?;
            let anchor = text_anchor::Pos::new(text_anchor::HPos::Left, text_anchor::VPos::Center);
            let style = (FONT, 13).into_font().color(&BLACK).pos(anchor);
            let ratio =
                median.ratio.filter(|_| measured.len() > 1).map(|ratio| format!(", x{ratio:.2}")).unwrap_or_default();
            let label = format!("{} {}{ratio}", endpoint.endpoint, super::text::short(rate));
            chart.draw_series([Text::new(label, (most * 0.01, from + 0.5), style)])?;
        }
        Ok(())
    }

    /// Milliseconds by percentile, evenly in nines.
    fn latencies<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        measured: &[(usize, &EndpointResult)],
    ) -> Result<(), Failed<B>> {
        const NINES: f64 = 4.0;
        let curves: Vec<(usize, Vec<(f64, f64)>)> = measured
            .iter()
            .map(|(colour, endpoint)| {
                // The round in the middle, as a whole: a curve of medians would be nobody's.
                let mut rounds: Vec<_> = endpoint.rounds.iter().collect();
                rounds.sort_unstable_by(|a, b| a.latency_ms.p50.total_cmp(&b.latency_ms.p50));
                let curve = rounds.get(rounds.len() / 2).map(|round| round.latency_ms.curve.as_slice()).unwrap_or(&[]);
                let nines = |percent: f64| (-(1.0 - percent / 100.0).max(1e-9).log10()).clamp(0.0, NINES);
                (*colour, curve.iter().map(|(percent, ms)| (nines(*percent), ms.max(1e-6))).collect())
            })
            .collect();
        let all = || curves.iter().flat_map(|(_, curve)| curve).map(|(_, ms)| *ms);
        let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        if low > high {
            return Ok(());
        }
        let mut chart = ChartBuilder::on(area)
            .caption("latency (ms) by percentile", (FONT, 15))
            .margin(10)
            .x_label_area_size(24)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..NINES, (low * 0.8..high * 1.25).log_scale())?;
        let percent = |nines: &f64| {
            let text = format!("{:.4}", 100.0 * (1.0 - 10.0_f64.powf(-nines)));
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let mesh = &mut chart.configure_mesh();
        mesh.x_labels(5).y_labels(5).label_style((FONT, 12)).x_label_formatter(&percent);
        mesh.y_label_formatter(&|ms| super::text::short(*ms)).draw()?;
        for (colour, curve) in curves {
            chart.draw_series(LineSeries::new(curve, COLOURS[colour % COLOURS.len()].stroke_width(2)))?;
        }
        Ok(())
    }
}

type Failed<B> = plotters::drawing::DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>;

/// The charts of a report below each other, as a PNG file. Errors: none of the cases was measured.
pub(crate) fn png(report: &Report) -> Result<Vec<u8>, String> {
    let rows = &report.results[..report.results.len().min(MAX_PNG_ROWS)];
    let mut pixels = Pixels::new(WIDTH, ROW * rows.len().max(1) as u32);
    {
        let area = (&mut pixels).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        for (row, result) in area.split_evenly((rows.len().max(1), 1)).iter().zip(rows) {
            Chart(result).draw(row).map_err(|error| error.to_string())?;
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, pixels.width, pixels.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(&pixels.rgb).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(file)
}

/// What plotters draws on to make a picture of pixels.
struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;

impl Pixels {
    fn new(width: u32, height: u32) -> Self {
        Self { width, height, rgb: vec![255; (width * height * 3) as usize] }
    }

    fn blend(&mut self, (x, y): BackendCoord, (r, g, b): (u8, u8, u8), alpha: f64) {
        if x < 0 || y < 0 || x >= self.width as i32 || y >= self.height as i32 {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        for (pixel, colour) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *pixel = (f64::from(*pixel) * (1.0 - alpha) + f64::from(colour) * alpha).round() as u8;
        }
    }
}

fn text_width(text: &str) -> i32 {
    (text.chars().count() * get_raster_width(WEIGHT, HEIGHT)) as i32
}

impl DrawingBackend for &mut Pixels {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        self.blend(point, color.rgb, color.alpha);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((text_width(text) as u32, HEIGHT.val() as u32))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let anchor = style.anchor();
        let left = match anchor.h_pos {
            text_anchor::HPos::Left => x,
            text_anchor::HPos::Center => x - text_width(text) / 2,
            text_anchor::HPos::Right => x - text_width(text),
        };
        let height = HEIGHT.val() as i32;
        let top = match anchor.v_pos {
            text_anchor::VPos::Top => y,
            text_anchor::VPos::Center => y - height / 2,
            text_anchor::VPos::Bottom => y - height,
        };
        let colour = style.color();
        for (n, letter) in text.chars().enumerate() {
            let Some(raster) = get_raster(letter, WEIGHT, HEIGHT).or_else(|| get_raster('?', WEIGHT, HEIGHT)) else {
                continue;
            };
            let left = left + (n * raster.width()) as i32;
            for (row, line) in raster.rows().enumerate() {
                for (column, ink) in line.iter().enumerate().filter(|(_, ink)| **ink > 0) {
                    let at = (left + column as i32, top + row as i32);
                    self.blend(at, colour.rgb, colour.alpha * f64::from(*ink) / 255.0);
                }
            }
        }
        Ok(())
    }

    fn fill_polygon<S: plotters_backend::BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vertices: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        plotters_backend::rasterizer::fill_polygon(self, &vertices.into_iter().collect::<Vec<_>>(), style)
    }
}
