//! Plots of a report.

use plotters::chart::ChartBuilder;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement};
use plotters::prelude::{Color, IntoFont, RGBColor, SVGBackend, ShapeStyle, TextStyle};
use plotters::series::LineSeries;
use plotters::style::WHITE;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::BenchError;
use crate::fit::{LARGE_BYTES, points};
use crate::report::{Record, Report, Session, Side};
use crate::summary::geometric_mean;
use crate::work::{Suite, Work};

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);
const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xed);
const AXIS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
/// Colours of devices and of losses.
const COLORS: [RGBColor; 12] = [
    RGBColor(0x2f, 0x6d, 0xb5),
    RGBColor(0xc2, 0x45, 0x2d),
    RGBColor(0x2a, 0x9d, 0x8f),
    RGBColor(0xdd, 0x9a, 0x1f),
    RGBColor(0x8e, 0x5e, 0xa2),
    RGBColor(0x4b, 0x55, 0x63),
    RGBColor(0x8c, 0xc0, 0x4b),
    RGBColor(0xd6, 0x6b, 0xa0),
    RGBColor(0x3b, 0xa7, 0xd9),
    RGBColor(0x8a, 0x5a, 0x2b),
    RGBColor(0x00, 0x6d, 0x5b),
    RGBColor(0x5c, 0x3d, 0x99),
];
const FONT: &str = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif";

impl Report {
    /// File names and SVG texts: `ratios.svg` where there is something to compare with, and
    /// `logits.svg` where losses were measured.
    pub(crate) fn plots(&self) -> Result<Vec<(&'static str, String)>, BenchError> {
        let failed = |error: Box<dyn std::error::Error>| BenchError::Plot(error.to_string());
        let mut plots = Vec::new();
        let rows = ratio_rows(&self.sessions);
        if !rows.is_empty() {
            let size = (900, 110 + 24 * rows.len() as u32);
            let svg = draw(size, |area| ratios(area, &rows, &self.sessions));
            plots.push(("ratios.svg", svg.map_err(failed)?));
        }
        let with_losses: Vec<&Session> = self
            .sessions
            .iter()
            .filter(|session| !points(session, Side::Ours).is_empty())
            .collect();
        if !with_losses.is_empty() {
            let size = (900, 420 * with_losses.len() as u32);
            let svg = draw(size, |area| {
                let panels = area.split_evenly((with_losses.len(), 1));
                panels.iter().zip(&with_losses).try_for_each(|(area, s)| logits(area, s))
            });
            plots.push(("logits.svg", svg.map_err(failed)?));
        }
        Ok(plots)
    }
}

fn draw(
    size: (u32, u32),
    paint: impl FnOnce(&Area) -> Drawn,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// A line of the plot of ratios: one loss, one pass over all convolutions, or one case.
struct RatioRow {
    name: String,
    /// Ratios and their weights for each session.
    ratios: Vec<Vec<(f64, usize)>>,
}

fn ratio_rows(sessions: &[Session]) -> Vec<RatioRow> {
    let has_peer = sessions.iter().flat_map(|s| &s.records).any(|r| r.ratio().is_some());
    let mut rows: Vec<RatioRow> = Vec::new();
    for (index, session) in sessions.iter().enumerate() {
        for record in &session.records {
            let ratio = if has_peer { record.ratio() } else { beside(sessions, index, record) };
            let Some(ratio) = ratio else { continue };
            let name = row_name(record);
            let position = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
                rows.push(RatioRow { name, ratios: vec![Vec::new(); sessions.len()] });
                rows.len() - 1
            });
            rows[position].ratios[index].push((ratio, record.case.count));
        }
    }
    rows
}

/// Our time over the one of the first session.
fn beside(sessions: &[Session], index: usize, record: &Record) -> Option<f64> {
    let first = sessions.first().filter(|_| index > 0)?;
    let same = first.records.iter().find(|other| other.case.is_same_work(&record.case))?;
    Some(record.median_ms(Side::Ours)? / same.median_ms(Side::Ours)?)
}

fn row_name(record: &Record) -> String {
    let case = &record.case;
    match (&case.work, case.suite) {
        (Work::Loss(shape), Suite::Losses) => shape.method.clone(),
        (Work::Conv(_), _) => format!("convolutions, {}", case.pass),
        (Work::Nms { groups, .. }, _) => format!("NMS, {groups} groups"),
        (Work::Loss(_), _) => case.name.clone(),
        _ => format!("{}, {}", case.name, case.pass),
    }
}

/// A tick in as few digits as it has: `0.01`, `2`, `100`.
fn round(value: f64) -> String {
    let rounded: Result<f64, _> = format!("{value:.2e}").parse();
    rounded.unwrap_or(value).to_string()
}

fn style(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font()).color(&INK)
}

fn ratios(area: &Area, rows: &[RatioRow], sessions: &[Session]) -> Drawn {
    let has_peer = sessions.iter().flat_map(|s| &s.records).any(|r| r.ratio().is_some());
    let title = if has_peer {
        "Our time over PyTorch's: each case, and the geometric mean".to_string()
    } else {
        let first = sessions.first().map_or(String::new(), Session::title);
        format!("Time over the one of {first}: each case, and the geometric mean")
    };
    area.draw_text(&title, &style(18), (20, 14))?;
    let values =
        || rows.iter().flat_map(|row| row.ratios.iter().flatten().map(|(ratio, _)| *ratio));
    let low = values().fold(0.5, f64::min) / 1.2;
    let high = values().fold(2.0, f64::max) * 1.2;
    let mut chart = ChartBuilder::on(area)
        .margin_top(46)
        .margin_right(24)
        .x_label_area_size(42)
        .y_label_area_size(300)
        .build_cartesian_2d((low..high).log_scale(), 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(8)
        .x_label_formatter(&|value| round(*value))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .label_style(style(13))
        .draw()?;
    let height = rows.len() as f64;
    chart.draw_series([PathElement::new(vec![(1.0, 0.0), (1.0, height)], INK)])?;
    for (index, row) in rows.iter().enumerate() {
        let y = height - index as f64 - 0.5;
        let label = style(13).pos(Pos::new(HPos::Right, VPos::Center));
        let (_, pixel) = chart.backend_coord(&(1.0, y));
        area.draw_text(&row.name, &label, (292, pixel))?;
        for (ratios, color) in row.ratios.iter().zip(COLORS) {
            let dots =
                ratios.iter().map(|(x, _)| Circle::new((*x, y), 3, color.mix(0.45).filled()));
            chart.draw_series(dots)?;
            if let Some(mean) = geometric_mean(ratios.iter().copied()) {
                let style = ShapeStyle::from(color).stroke_width(3);
                let ends = vec![(mean, y - 0.34), (mean, y + 0.34)];
                chart.draw_series([PathElement::new(ends, style)])?;
            }
        }
    }
    if sessions.len() > 1 {
        legend(area, sessions.iter().map(Session::title), (300, 36), 300)?;
    }
    Ok(())
}

/// Coloured names side by side.
fn legend(
    area: &Area,
    names: impl Iterator<Item = String>,
    (left, y): (i32, i32),
    width: i32,
) -> Drawn {
    for (index, (name, color)) in names.zip(COLORS).enumerate() {
        let x = left + width * index as i32;
        let text = style(12).color(&color);
        area.draw_text(&name, &text, (x, y - 6))?;
    }
    Ok(())
}

/// Time per logit over the number of logits, one line for each loss.
fn logits(area: &Area, session: &Session) -> Drawn {
    let methods = points(session, Side::Ours);
    let all = || {
        methods.values().flatten().map(|&(logits, ms)| (logits as f64, 1e6 * ms / logits as f64))
    };
    let (x_low, x_high) = all().fold((f64::MAX, 1.0), |(a, b), (x, _)| (x.min(a), x.max(b)));
    let (y_low, y_high) = all().fold((f64::MAX, 0.0), |(a, b), (_, y)| (y.min(a), y.max(b)));
    let title = format!("Time per logit, forward and backward: {}", session.title());
    area.draw_text(&title, &style(18), (20, 14))?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(46)
        .margin_left(16)
        .margin_bottom(8)
        .margin_right(210)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (x_low / 1.3..x_high * 1.3).log_scale(),
            (y_low / 1.3..y_high * 1.3).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("logits; the line is at 16 MiB")
        .y_desc("nanoseconds per logit")
        .x_label_formatter(&|value| format!("{value:.0e}"))
        .y_label_formatter(&|value| round(*value))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .label_style(style(13))
        .draw()?;
    let large = LARGE_BYTES as f64 / 4.0;
    if (x_low..x_high).contains(&large) {
        let line = vec![(large, y_low / 1.3), (large, y_high * 1.3)];
        chart.draw_series([PathElement::new(line, AXIS)])?;
    }
    for (index, ((name, points), color)) in methods.iter().zip(COLORS).enumerate() {
        let points: Vec<(f64, f64)> =
            points.iter().map(|&(logits, ms)| (logits as f64, 1e6 * ms / logits as f64)).collect();
        chart.draw_series(LineSeries::new(
            points.clone(),
            ShapeStyle::from(color).stroke_width(2),
        ))?;
        chart.draw_series(points.iter().map(|&at| Circle::new(at, 3, color.filled())))?;
        area.draw_text(name, &style(13).color(&color), (706, 60 + 20 * index as i32))?;
    }
    Ok(())
}
