//! Accuracy of each class against its training images.

use super::{
    axes::{Axes, Scale, whole_percent},
    canvas::{Anchor, Canvas, Color, Font, draw},
    class_distribution::{MAX_NAMED, Slots},
    theme::{INK, MARGIN, MUTED, WHITE, group_color, heading, legend},
};
use crate::{
    ClassificationReport, EvalError,
    shot_accuracy::mean,
    table::{percent, plural, thousands},
    text::GROUPS,
};

const SIZE: [f64; 2] = [960.0, 540.0];

pub(crate) fn svg(report: &ClassificationReport) -> Result<String, EvalError> {
    let mut subtitle = format!(
        "overall {} %, mean of classes {} %; {}, {}",
        percent(report.micro_accuracy),
        percent(report.macro_accuracy),
        report.protocol.test_set,
        plural(report.num_examples, "image", "images"),
    );
    let unseen = report.classes.iter().filter(|class| class.num_examples == 0).count() as u64;
    if unseen > 0 {
        subtitle.push_str(&format!("; {} without", plural(unseen, "class", "classes")));
    }
    draw("class accuracy", SIZE, |canvas| {
        heading(canvas, &format!("Accuracy of each class: {}", report.name), &subtitle);
        let means = GROUPS.into_iter().filter_map(|group| {
            let accuracy = report.shots.group(group)?;
            let size = plural(accuracy.num_classes as u64, "class", "classes");
            let text = format!("{group}: {} % ({size})", percent(accuracy.accuracy));
            Some((group_color(group), text))
        });
        let means: Vec<_> = means.collect();
        legend(canvas, &means, [MARGIN, canvas.width - MARGIN], 84.0);
        if report.classes.len() <= MAX_NAMED {
            draw_bars(canvas, report);
        } else {
            draw_dots(canvas, report);
        }
    })
}

/// One bar per class, sorted, with the mean of each group across its bars.
fn draw_bars(canvas: &mut Canvas, report: &ClassificationReport) {
    let bars = report.by_frequency().into_iter().map(|label| {
        let class = &report.classes[label];
        Bar {
            name: &class.name,
            number: Some(class.train_images),
            share: class.accuracy,
            color: group_color(class.group),
        }
    });
    let means = GROUPS
        .into_iter()
        .filter_map(|group| Some((group_color(group), report.shots.group(group)?.accuracy)));
    let name =
        "classes, from most to fewest training images (number in the bar; dashes: group mean)";
    bars_with_means(
        canvas,
        &bars.collect::<Vec<_>>(),
        &means.collect::<Vec<_>>(),
        ["accuracy, %", name],
    );
}

/// A class on a bar plot.
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    /// Stands inside the foot of the bar.
    pub(crate) number: Option<u64>,
    /// Height of the bar; `n/a` without.
    pub(crate) share: Option<f64>,
    /// That of its group.
    pub(crate) color: Color,
}

/// Bars, and the means of groups across the bars of a colour that stand side by side; names of the
/// upright and of the level axis.
pub(crate) fn bars_with_means(
    canvas: &mut Canvas,
    bars: &[Bar],
    means: &[(Color, f64)],
    names: [&str; 2],
) {
    let slots = Slots::new(canvas, bars.iter().map(|bar| bar.name).collect());
    let axes = slots.axes(canvas, Scale::linear(0.0, 1.0));
    axes.draw_y(canvas, names[0], whole_percent);
    let is_dense = bars.len() > 20;
    let font = Font::new(if is_dense { 10.0 } else { 12.0 }, INK);
    for (place, bar) in bars.iter().enumerate() {
        let [left, right] = slots.bar(&axes, place);
        let middle = (left + right) / 2.0;
        let Some(share) = bar.share else {
            let at = (middle, axes.bottom - 10.0);
            canvas.text("n/a", at, Font::new(11.0, MUTED), Anchor::Middle);
            continue;
        };
        let top = axes.y(share);
        canvas.rect([left, top, right, axes.bottom], bar.color);
        let number = bar.number.map(thousands).unwrap_or_default();
        let small = Font::new(10.5, bar.color.ink());
        if small.width(&number) < right - left && axes.bottom - top > 22.0 {
            canvas.text(&number, (middle, axes.bottom - 10.0), small, Anchor::Middle);
        }
    }
    for &(color, mean) in means {
        let is_member = |place: &usize| bars[*place].color == color;
        let mut places = (0..bars.len()).filter(is_member);
        let Some(first) = places.next() else { continue };
        let last = places.next_back().unwrap_or(first);
        if (first..=last).all(|place| is_member(&place)) {
            let ends = [slots.left(&axes, first) + 2.0, slots.left(&axes, last + 1) - 2.0];
            canvas.dashes(ends, axes.y(mean), INK);
        }
    }
    for (place, bar) in bars.iter().enumerate() {
        let Some(share) = bar.share else { continue };
        let [left, right] = slots.bar(&axes, place);
        let text = if is_dense { whole_percent(share) } else { format!("{:.1}", 100.0 * share) };
        let at = ((left + right) / 2.0, axes.y(share) - 10.0);
        canvas.patched_text(&text, at, font);
    }
    axes.draw_base(canvas);
    slots.draw_names(canvas, &axes, names[1]);
}

/// One dot per class at its number of training images.
fn draw_dots(canvas: &mut Canvas, report: &ClassificationReport) {
    let measured = report.by_frequency().into_iter().map(|label| &report.classes[label]);
    let dots = measured
        .filter_map(|class| Some((class.train_images, class.accuracy?, group_color(class.group))));
    let name =
        "training images of the class (log scale); line: running mean over a tenth of the classes";
    scatter(canvas, &dots.collect::<Vec<_>>(), ["accuracy, %", name]);
}

/// Dots (number, share, colour) from the highest number to the lowest, and their running mean;
/// names of the upright and of the level axis.
pub(crate) fn scatter(canvas: &mut Canvas, dots: &[(u64, f64, Color)], names: [&str; 2]) {
    let numbers = || dots.iter().map(|dot| dot.0);
    let (least, most) = (numbers().min().unwrap_or(1), numbers().max().unwrap_or(1));
    let axes = Axes {
        left: 86.0,
        top: 124.0,
        right: canvas.width - MARGIN,
        bottom: canvas.height - 64.0,
        x: Scale::log(least, most),
        y: Scale::linear(0.0, 1.0),
    };
    axes.draw_y(canvas, names[0], whole_percent);
    let opacity = (150.0 / dots.len().max(1) as f64).clamp(0.25, 0.7);
    for &(number, share, color) in dots {
        let at = (axes.x(number as f64), axes.y(share));
        canvas.dot(at, if dots.len() < 100 { 5.0 } else { 3.6 }, color.opacity(opacity));
    }
    let window = (dots.len() / 10).max(5);
    let line = dots.windows(window).filter_map(|near| {
        let x = mean(near.iter().map(|dot| (dot.0.max(1) as f64).ln()))?.exp();
        Some((axes.x(x), axes.y(mean(near.iter().map(|dot| dot.1))?)))
    });
    let line: Vec<_> = line.collect();
    canvas.line(&line, WHITE, 5.0);
    canvas.line(&line, INK, 2.2);
    axes.draw_x(canvas, names[1], |tick| thousands(tick as u64));
}
