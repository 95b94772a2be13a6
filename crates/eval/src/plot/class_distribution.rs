//! Training images of each class, from the most frequent to the rarest.

use longtail_types::{ClassCounts, ClassMap, ShotGroup, ShotThresholds};

use super::{
    axes::{Axes, Scale, short},
    canvas::{Anchor, Canvas, Font, draw},
    theme::{INK, MARGIN, MUTED, group_color, heading, legend},
};
use crate::{
    ClassificationReport, DetectionReport, EvalError,
    table::{plural, thousands},
    text::{GROUPS, bounds},
};

const SIZE: [f64; 2] = [960.0, 540.0];
/// Up to this many classes, each has its name and number.
pub(crate) const MAX_NAMED: usize = 40;
/// From this many classes on, bars melt into one shape.
const MAX_BARS: usize = 400;

/// Training images of each class as bars on a logarithmic scale, sorted, coloured by many, medium
/// and few.
///
/// # Errors
/// If `classes` and `counts` differ in length or the plotting library fails.
pub fn class_distribution_svg(
    title: &str,
    classes: &ClassMap,
    counts: &ClassCounts,
    thresholds: ShotThresholds,
) -> Result<String, EvalError> {
    let (found, expected) = (classes.len(), counts.num_classes());
    if found != expected {
        return Err(EvalError::ClassMismatch { what: "the class map", found, expected });
    }
    let bars = classes.names().zip(counts.image_counts().iter().copied());
    let images = plural(counts.num_images(), "image", "images");
    svg(title, bars.collect(), &images, &Groups { names: SHOTS, thresholds })
}

/// The same with LVIS's groups: rare, common and frequent.
pub(crate) fn frequency_distribution_svg(
    title: &str,
    classes: &ClassMap,
    counts: &ClassCounts,
) -> Result<String, EvalError> {
    let bars = classes.names().zip(counts.image_counts().iter().copied());
    let images = plural(counts.num_images(), "annotated image", "annotated images");
    svg(title, bars.collect(), &images, &FREQUENCIES)
}

pub(crate) fn of_report(report: &ClassificationReport) -> Result<String, EvalError> {
    let bars = report.classes.iter().map(|class| (class.name.as_str(), class.train_images));
    let title = format!("Training images of each class: {}", report.protocol.train_counts);
    let images = plural(report.num_train_images, "image", "images");
    let groups = Groups { names: SHOTS, thresholds: report.protocol.thresholds };
    svg(&title, bars.collect(), &images, &groups)
}

/// Training images of each class and LVIS's groups; `None` if a class has no number.
pub(crate) fn of_detection(report: &DetectionReport) -> Option<Result<String, EvalError>> {
    let bars = report.classes.iter().map(|class| Some((class.name.as_str(), class.train_images?)));
    let bars: Vec<(&str, u64)> = bars.collect::<Option<_>>()?;
    let source = report.protocol.train_counts.as_deref().unwrap_or("not stated");
    let title = format!("Training images of each class: {source}");
    Some(svg(&title, bars, "LVIS's groups", &FREQUENCIES))
}

const SHOTS: [&str; 3] = ["many", "medium", "few"];

const FREQUENCIES: Groups = Groups {
    names: ["frequent", "common", "rare"],
    thresholds: ShotThresholds { many_above: 100, few_below: 11 },
};

/// Groups by training images, and what they are called from many to few.
struct Groups {
    names: [&'static str; 3],
    thresholds: ShotThresholds,
}

fn svg(
    title: &str,
    mut bars: Vec<(&str, u64)>,
    images: &str,
    groups: &Groups,
) -> Result<String, EvalError> {
    let Groups { names, thresholds } = *groups;
    bars.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let counts: Vec<u64> = bars.iter().map(|&(_, count)| count).collect();
    let most = counts.first().copied().unwrap_or_default();
    let least = counts.iter().copied().rfind(|&count| count > 0).unwrap_or(1);
    let mut subtitle = format!(
        "{}, {images}, {} to {} per class",
        plural(counts.len() as u64, "class", "classes"),
        thousands(counts.last().copied().unwrap_or_default()),
        thousands(most),
    );
    if most > 0 {
        let imbalance = most as f64 / least as f64;
        subtitle.push_str(&format!(", imbalance {}", short((imbalance * 10.0).round() / 10.0)));
    }
    let empty = counts.iter().filter(|&&count| count == 0).count() as u64;
    if empty > 0 {
        subtitle.push_str(&format!(", {} without an image", plural(empty, "class", "classes")));
    }
    draw("class distribution", SIZE, |canvas| {
        heading(canvas, title, &subtitle);
        let slots = Slots::new(canvas, bars.iter().map(|&(name, _)| name).collect());
        let axes = slots.axes(canvas, Scale::log(least, most));
        axes.draw_y(canvas, "training images (log scale)", |tick| thousands(tick as u64));
        let sizes = GROUPS.iter().zip(names).map(|(&group, name)| {
            let size = counts.iter().filter(|&&count| thresholds.group(count) == group).count();
            let size = plural(size as u64, "class", "classes");
            (group_color(group), format!("{name} ({}): {size}", bounds(group, thresholds)))
        });
        let sizes: Vec<_> = sizes.collect();
        legend(canvas, &sizes, [MARGIN, canvas.width - MARGIN], 84.0);
        let y_range = least..=most;
        for (value, name) in [
            (
                thresholds.many_above,
                format!("{}: above {}", names[0], thousands(thresholds.many_above)),
            ),
            (
                thresholds.few_below,
                format!("{}: below {}", names[2], thousands(thresholds.few_below)),
            ),
        ] {
            if y_range.contains(&value) {
                let y = axes.y(value as f64);
                canvas.dashes([axes.left, axes.right], y, MUTED);
                let at = (axes.right, y - 9.0);
                canvas.text(&name, at, Font::new(11.5, MUTED), Anchor::End);
            }
        }
        let group = |count: u64| thresholds.group(count);
        draw_bars(canvas, &axes, &slots, &counts, group);
        axes.draw_base(canvas);
        slots.draw_names(canvas, &axes, "classes, from most to fewest training images");
    })
}

fn draw_bars(
    canvas: &mut Canvas,
    axes: &Axes,
    slots: &Slots,
    counts: &[u64],
    group: impl Fn(u64) -> ShotGroup,
) {
    if counts.len() > MAX_BARS {
        // The groups follow each other: one shape for each.
        for run in counts.chunk_by(|&a, &b| group(a) == group(b)) {
            let first = counts.partition_point(|&count| count > run[0]);
            let mut outline = vec![(slots.left(axes, first), axes.bottom)];
            for (index, &count) in run.iter().enumerate() {
                let y = if count == 0 { axes.bottom } else { axes.y(count as f64) };
                let place = first + index;
                outline.extend([(slots.left(axes, place), y), (slots.left(axes, place + 1), y)]);
            }
            outline.push((slots.left(axes, first + run.len()), axes.bottom));
            canvas.polygon(&outline, group_color(group(run[0])));
        }
        return;
    }
    for (place, &count) in counts.iter().enumerate() {
        let [left, right] = slots.bar(axes, place);
        let top = if count == 0 { axes.bottom } else { axes.y(count as f64) };
        canvas.rect([left, top, right, axes.bottom], group_color(group(count)));
        if slots.is_named() {
            let font = Font::new(if counts.len() > 20 { 10.0 } else { 12.0 }, INK);
            let text = thousands(count);
            if font.width(&text) <= slots.width(axes) + 8.0 {
                canvas.patched_text(&text, ((left + right) / 2.0, top - 10.0), font);
            }
        }
    }
}

/// Places for classes side by side.
pub(crate) struct Slots<'a> {
    names: Vec<&'a str>,
    is_upright: bool,
}

impl<'a> Slots<'a> {
    pub(crate) const FONT: Font = Font::new(12.0, INK);

    pub(crate) fn new(canvas: &Canvas, names: Vec<&'a str>) -> Self {
        let width = (canvas.width - 120.0) / names.len().max(1) as f64;
        let is_upright = names.iter().any(|name| Self::FONT.width(name) > width - 2.0);
        Self { names, is_upright }
    }

    pub(crate) fn is_named(&self) -> bool {
        self.names.len() <= MAX_NAMED
    }

    /// Axes that leave room for the names below and for headings above.
    pub(crate) fn axes(&self, canvas: &Canvas, y: Scale) -> Axes {
        let longest = self.names.iter().map(|name| Self::FONT.width(name)).fold(0.0, f64::max);
        let room = match (self.is_named(), self.is_upright) {
            (true, true) => 50.0 + longest.min(140.0),
            _ => 64.0,
        };
        Axes {
            left: 86.0,
            top: 124.0,
            right: canvas.width - MARGIN,
            bottom: canvas.height - room,
            x: Scale::linear(0.0, self.names.len() as f64),
            y,
        }
    }

    /// Left end of a place.
    pub(crate) fn left(&self, axes: &Axes, place: usize) -> f64 {
        axes.x(place as f64)
    }

    pub(crate) fn width(&self, axes: &Axes) -> f64 {
        (axes.right - axes.left) / self.names.len().max(1) as f64
    }

    /// Both ends of the bar in a place.
    pub(crate) fn bar(&self, axes: &Axes, place: usize) -> [f64; 2] {
        let width = self.width(axes);
        let gap = if width > 6.0 { 0.13 * width } else { 0.0 };
        let left = self.left(axes, place);
        [left + gap, left + width - gap]
    }

    /// Names under the places, or the rank if there are too many.
    pub(crate) fn draw_names(&self, canvas: &mut Canvas, axes: &Axes, name: &str) {
        let below = axes.bottom;
        if !self.is_named() {
            for tick in axes.x.ticks().into_iter().filter(|tick| tick.fract() == 0.0) {
                let at = (axes.x(tick), below + 16.0);
                canvas.text(&thousands(tick as u64), at, Font::new(12.0, MUTED), Anchor::Middle);
            }
            return axes.name_x(canvas, name, 42.0);
        }
        for (place, text) in self.names.iter().enumerate() {
            let x = self.left(axes, place) + self.width(axes) / 2.0;
            if self.is_upright {
                let text = Self::FONT.fit(text, 140.0);
                canvas.text(&text, (x, below + 8.0), Self::FONT, Anchor::Hanging);
            } else {
                canvas.text(text, (x, below + 17.0), Self::FONT, Anchor::Middle);
            }
        }
        axes.name_x(canvas, name, canvas.height - below - 20.0);
    }
}
