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
    let order = report.by_frequency();
    let names = order.iter().map(|&label| report.classes[label].name.as_str());
    let slots = Slots::new(canvas, names.collect());
    let axes = slots.axes(canvas, Scale::linear(0.0, 1.0));
    axes.draw_y(canvas, "accuracy, %", whole_percent);
    let is_dense = order.len() > 20;
    let font = Font::new(if is_dense { 10.0 } else { 12.0 }, INK);
    for (place, &label) in order.iter().enumerate() {
        let class = &report.classes[label];
        let [left, right] = slots.bar(&axes, place);
        let middle = (left + right) / 2.0;
        let Some(accuracy) = class.accuracy else {
            let at = (middle, axes.bottom - 10.0);
            canvas.text("n/a", at, Font::new(11.0, MUTED), Anchor::Middle);
            continue;
        };
        let top = axes.y(accuracy);
        let color = group_color(class.group);
        canvas.rect([left, top, right, axes.bottom], color);
        // The number of training images stands inside the foot of the bar.
        let images = thousands(class.train_images);
        let small = Font::new(10.5, color.ink());
        if small.width(&images) < right - left && axes.bottom - top > 22.0 {
            canvas.text(&images, (middle, axes.bottom - 10.0), small, Anchor::Middle);
        }
    }
    for group in GROUPS {
        let mut places = (0..order.len()).filter(|&p| report.classes[order[p]].group == group);
        let (Some(first), Some(accuracy)) = (places.next(), report.shots.group(group)) else {
            continue;
        };
        let last = places.next_back().unwrap_or(first);
        let ends = [slots.left(&axes, first) + 2.0, slots.left(&axes, last + 1) - 2.0];
        canvas.dashes(ends, axes.y(accuracy.accuracy), INK);
    }
    for (place, &label) in order.iter().enumerate() {
        let Some(accuracy) = report.classes[label].accuracy else { continue };
        let [left, right] = slots.bar(&axes, place);
        let text =
            if is_dense { whole_percent(accuracy) } else { format!("{:.1}", 100.0 * accuracy) };
        let at = ((left + right) / 2.0, axes.y(accuracy) - 10.0);
        canvas.patched_text(&text, at, font);
    }
    axes.draw_base(canvas);
    let name =
        "classes, from most to fewest training images (number in the bar; dashes: group mean)";
    slots.draw_names(canvas, &axes, name);
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
        canvas.dot(at, 3.6, color.opacity(opacity));
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
