//! Drawing in pixels on an SVG.

use plotters::{
    backend::{DrawingBackend, SVGBackend},
    style::{
        Color as _, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle,
        TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::EvalError;

/// Backend units per pixel: the backend rounds to integers.
const SCALE: f64 = 10.0;
/// The backend divides font sizes by this.
const FONT_FACTOR: f64 = 1.24;

/// An opaque colour or a see-through one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Color(pub(crate) [u8; 3], pub(crate) f64);

impl Color {
    pub(crate) const fn hex(rgb: u32) -> Self {
        Self([(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8], 1.0)
    }

    pub(crate) fn opacity(self, opacity: f64) -> Self {
        Self(self.0, opacity)
    }

    /// Black or white, whichever is easier to read on this colour.
    pub(crate) fn ink(self) -> Self {
        let [r, g, b] = self.0.map(f64::from);
        let is_light = 0.299 * r + 0.587 * g + 0.114 * b > 140.0;
        Self::hex(if is_light { 0x1f_29_33 } else { 0xff_ff_ff })
    }

    /// A colour between this one and another, `share` of the way.
    pub(crate) fn mix(self, other: Self, share: f64) -> Self {
        let channel = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))) as u8;
        let ([r, g, b], [r2, g2, b2]) = (self.0, other.0);
        Self([channel(r, r2), channel(g, g2), channel(b, b2)], self.1)
    }
}

/// Where a text sits relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
    /// Reads upwards and ends at the point, so that it hangs below it.
    Hanging,
    /// Reads upwards, centred on the point.
    Upwards,
}

/// Size, weight and colour of a text. Its vertical centre is at the point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Font {
    pub(crate) size: f64,
    pub(crate) is_bold: bool,
    pub(crate) color: Color,
}

impl Font {
    pub(crate) const fn new(size: f64, color: Color) -> Self {
        Self { size, is_bold: false, color }
    }

    pub(crate) const fn bold(size: f64, color: Color) -> Self {
        Self { size, is_bold: true, color }
    }

    /// Estimated width of a text, as in a wide font: the viewer chooses it, so nobody knows.
    pub(crate) fn width(&self, text: &str) -> f64 {
        let ems: f64 = text.chars().map(em).sum();
        ems * self.size * if self.is_bold { 1.1 } else { 1.0 }
    }

    /// The text, cut off with an ellipsis if it is estimated to be wider than `width`.
    pub(crate) fn fit(&self, text: &str, width: f64) -> String {
        if self.width(text) <= width {
            return text.to_string();
        }
        let mut cut: String = text.to_string();
        while cut.pop().is_some() && self.width(&cut) + self.width("…") > width {}
        format!("{}…", cut.trim_end())
    }
}

/// Estimated width of a character over the font size.
fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '|' | '.' | ',' | ':' | ';' | '!' | '\'' | ' ' => 0.33,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' | '&' => 0.92,
        _ if c.is_uppercase() => 0.7,
        _ if c.is_ascii() || c.is_alphabetic() && c < '\u{2e80}' => 0.61,
        _ => 1.0, // Chinese, Japanese, Korean, symbols
    }
}

/// A white sheet, in pixels from the upper left corner. The first error is kept until the end.
pub(crate) struct Canvas<'a> {
    backend: SVGBackend<'a>,
    error: Option<String>,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// An SVG of `width` times `height` pixels.
pub(crate) fn draw(
    plot: &'static str,
    [width, height]: [f64; 2],
    paint: impl FnOnce(&mut Canvas),
) -> Result<String, EvalError> {
    let mut svg = String::new();
    let [large_width, large_height] = [width, height].map(|length| (SCALE * length) as u32);
    let backend = SVGBackend::with_string(&mut svg, (large_width, large_height));
    let mut canvas = Canvas { backend, error: None, width, height };
    canvas.rect([0.0, 0.0, width, height], Color::hex(0xff_ff_ff));
    paint(&mut canvas);
    let presented = canvas.backend.present();
    canvas.keep(presented);
    let error = canvas.error.take();
    drop(canvas);
    if let Some(message) = error {
        return Err(EvalError::Plot { plot, message });
    }
    let large = format!("width=\"{large_width}\" height=\"{large_height}\"");
    Ok(svg.replacen(&large, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

impl Canvas<'_> {
    /// A filled rectangle `[x1, y1, x2, y2]`.
    pub(crate) fn rect(&mut self, [x1, y1, x2, y2]: [f64; 4], color: Color) {
        let drawn = self.backend.draw_rect(point(x1, y1), point(x2, y2), &fill(color), true);
        self.keep(drawn);
    }

    /// A line through points.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], color: Color, width: f64) {
        let style = ShapeStyle { stroke_width: (SCALE * width) as u32, ..fill(color) };
        let drawn = self.backend.draw_path(points.iter().map(|&(x, y)| point(x, y)), &style);
        self.keep(drawn);
    }

    /// A dashed line from left to right.
    pub(crate) fn dashes(&mut self, [x1, x2]: [f64; 2], y: f64, color: Color) {
        let mut x = x1;
        while x < x2 {
            self.line(&[(x, y), ((x + 6.0).min(x2), y)], color, 1.2);
            x += 10.0;
        }
    }

    /// A filled polygon.
    pub(crate) fn polygon(&mut self, points: &[(f64, f64)], color: Color) {
        let points = points.iter().map(|&(x, y)| point(x, y));
        let drawn = self.backend.fill_polygon(points, &fill(color));
        self.keep(drawn);
    }

    /// A filled dot.
    pub(crate) fn dot(&mut self, (x, y): (f64, f64), radius: f64, color: Color) {
        let radius = (SCALE * radius) as u32;
        let drawn = self.backend.draw_circle(point(x, y), radius, &fill(color), true);
        self.keep(drawn);
    }

    /// A text; characters that XML forbids are left out.
    pub(crate) fn text(&mut self, text: &str, (x, y): (f64, f64), font: Font, anchor: Anchor) {
        let text: String = text.chars().filter(|&c| is_xml(c)).collect();
        let style = if font.is_bold { FontStyle::Bold } else { FontStyle::Normal };
        let size = SCALE * FONT_FACTOR * font.size;
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle | Anchor::Upwards => HPos::Center,
            Anchor::End | Anchor::Hanging => HPos::Right,
        };
        let transform = match anchor {
            Anchor::Hanging | Anchor::Upwards => FontTransform::Rotate270,
            _ => FontTransform::None,
        };
        let description = FontDesc::new(FontFamily::Name(FONTS), size, style).transform(transform);
        let style = TextStyle {
            font: description,
            color: fill(font.color).color.to_backend_color(),
            pos: Pos::new(horizontal, VPos::Center),
        };
        let drawn = self.backend.draw_text(&text, &style, point(x, y));
        self.keep(drawn);
    }

    /// A text on a see-through white patch, so that lines behind it do not cross it.
    pub(crate) fn patched_text(&mut self, text: &str, (x, y): (f64, f64), font: Font) {
        let (width, height) = (font.width(text) / 2.0, 0.55 * font.size);
        let patch = [x - width, y - height, x + width, y + height];
        self.rect(patch, Color::hex(0xff_ff_ff).opacity(0.8));
        self.text(text, (x, y), font, Anchor::Middle);
    }

    fn keep<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.error.get_or_insert(error.to_string());
        }
    }
}

/// The viewer takes the first it has; every system has the last.
const FONTS: &str = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif";

fn point(x: f64, y: f64) -> (i32, i32) {
    ((SCALE * x).round() as i32, (SCALE * y).round() as i32)
}

fn fill(Color([r, g, b], opacity): Color) -> ShapeStyle {
    ShapeStyle::from(RGBColor(r, g, b).mix(opacity)).filled()
}

fn is_xml(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_the_size_is_in_pixels() {
        let font = Font::new(10.0, Color::hex(0));
        let svg = draw("test", [30.0, 20.0], |canvas| {
            canvas.text("a<b>&\u{0}\"", (1.0, 2.0), font, Anchor::Start);
        });
        let svg = svg.unwrap();
        let header = "<svg width=\"30\" height=\"20\" viewBox=\"0 0 300 200\"";
        assert!(svg.starts_with(header), "{svg}");
        assert!(svg.contains("a&lt;b&gt;&amp;&quot;"), "{svg}");
        assert!(svg.contains("font-size=\"100\"") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }

    #[test]
    fn long_texts_are_cut() {
        let font = Font::new(10.0, Color::hex(0));
        assert_eq!(font.fit("short", 100.0), "short");
        assert_eq!(font.fit("a rather long class name", 60.0), "a rather l…");
    }

    #[test]
    fn colors_mix() {
        let half = Color::hex(0).mix(Color::hex(0xff_80_00), 0.5);
        assert_eq!(half, Color([127, 64, 0], 1.0));
        assert_eq!(Color::hex(0xff_ff_00).ink(), Color::hex(0x1f_29_33));
        assert_eq!(Color::hex(0x00_00_80).ink(), Color::hex(0xff_ff_ff));
    }
}
