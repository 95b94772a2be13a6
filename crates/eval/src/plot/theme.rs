//! Colours, headings and legends that all plots share.

use longtail_types::{FrequencyGroup, ShotGroup};

use super::canvas::{Anchor, Canvas, Color, Font};

pub(crate) const INK: Color = Color::hex(0x1f_29_33);
pub(crate) const MUTED: Color = Color::hex(0x5f_6b_76);
pub(crate) const AXIS: Color = Color::hex(0x9a_a5_b1);
pub(crate) const GRID: Color = Color::hex(0xe6_e9_ed);
pub(crate) const WHITE: Color = Color::hex(0xff_ff_ff);
pub(crate) const BLUE: Color = Color::hex(0x2f_6d_b5);
pub(crate) const RED: Color = Color::hex(0xc2_45_2d);

/// Colours of methods or curves; the first, grey, is the baseline's.
const SERIES: [Color; 8] = [
    Color::hex(0x9a_a5_b1),
    BLUE,
    RED,
    Color::hex(0x2a_9d_8f),
    Color::hex(0xdd_9a_1f),
    Color::hex(0x8e_5e_a2),
    Color::hex(0x4b_55_63),
    Color::hex(0x8c_c0_4b),
];

/// Margin at the sides of headings.
pub(crate) const MARGIN: f64 = 24.0;

pub(crate) fn series_color(index: usize) -> Color {
    SERIES[index % SERIES.len()]
}

pub(crate) fn group_color(group: ShotGroup) -> Color {
    match group {
        ShotGroup::Many => BLUE,
        ShotGroup::Medium => Color::hex(0xdd_9a_1f),
        ShotGroup::Few => RED,
    }
}

/// The colours of many, medium and few; grey where nothing decides.
pub(crate) fn frequency_color(group: Option<FrequencyGroup>) -> Color {
    match group {
        Some(FrequencyGroup::Frequent) => group_color(ShotGroup::Many),
        Some(FrequencyGroup::Common) => group_color(ShotGroup::Medium),
        Some(FrequencyGroup::Rare) => group_color(ShotGroup::Few),
        None => AXIS,
    }
}

/// Title and a line under it.
pub(crate) fn heading(canvas: &mut Canvas, title: &str, subtitle: &str) {
    let (title_font, font) = (Font::bold(19.0, INK), Font::new(13.0, MUTED));
    let width = canvas.width - 2.0 * MARGIN;
    canvas.text(&title_font.fit(title, width), (MARGIN, 32.0), title_font, Anchor::Start);
    canvas.text(&font.fit(subtitle, width), (MARGIN, 56.0), font, Anchor::Start);
}

/// Coloured squares with names from `left` on, in lines that end at `right`; returns the vertical
/// centre of the last line.
pub(crate) fn legend(
    canvas: &mut Canvas,
    entries: &[(Color, String)],
    [left, right]: [f64; 2],
    y: f64,
) -> f64 {
    let font = Font::new(13.0, INK);
    let (mut x, mut y) = (left, y);
    for (color, name) in entries {
        let name = font.fit(name, right - left - 18.0);
        let width = 18.0 + font.width(&name) + 22.0;
        if x > left && x + width - 22.0 > right {
            (x, y) = (left, y + 20.0);
        }
        canvas.rect([x, y - 6.0, x + 12.0, y + 6.0], *color);
        canvas.text(&name, (x + 18.0, y), font, Anchor::Start);
        x += width;
    }
    y
}
