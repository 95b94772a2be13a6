//! One text file of YOLO.

use crate::detection::ProblemKind;
use crate::detection::assemble::KindAndMessage;

/// One line: a class and a box or a polygon, in fractions of the image's width and height.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) class: u64,
    /// Centre x, centre y, width, height.
    pub(super) bbox: [f64; 4],
    /// x, y, x, y, ... in fractions; empty without one.
    pub(super) polygon: Vec<f64>,
}

/// Parses `class x y width height` or `class x y x y x y ...`.
///
/// # Errors
/// If it is neither.
pub(super) fn parse_line(text: &str) -> Result<Line, KindAndMessage> {
    let wrong = |kind, what: &str| Err((kind, format!("{what}, got {:?}", text.trim())));
    let mut words = text.split_whitespace();
    let field = ProblemKind::AnnotationField;
    // Some tools write classes as 3.0.
    let class = words.next().and_then(|word| word.parse::<f64>().ok());
    let Some(class) = class.filter(|class| *class >= 0.0 && class.fract() == 0.0) else {
        return wrong(field, "a line starts with a class number");
    };
    let numbers: Option<Vec<f64>> =
        words.map(|word| word.parse().ok().filter(|value: &f64| value.is_finite())).collect();
    let Some(numbers) = numbers else {
        return wrong(field, "a line is made of numbers");
    };
    let class = class as u64;
    match *numbers.as_slice() {
        [x, y, width, height] if width < 0.0 || height < 0.0 => {
            let kind = ProblemKind::NegativeBox;
            Err((kind, format!("a box of negative size: [{x}, {y}, {width}, {height}]")))
        }
        [x, y, width, height] => {
            Ok(Line { class, bbox: [x, y, width, height], polygon: Vec::new() })
        }
        _ if numbers.len() < 6 || numbers.len() % 2 == 1 => {
            let kind = if numbers.len() < 4 { field } else { ProblemKind::Polygon };
            wrong(kind, "a line is `class x y width height` or `class x y x y x y ...`")
        }
        _ => Ok(Line { class, bbox: around(&numbers), polygon: numbers }),
    }
}

/// Centre and size of the box around a polygon.
fn around(polygon: &[f64]) -> [f64; 4] {
    let (xs, ys) = (polygon.iter().step_by(2), polygon.iter().skip(1).step_by(2));
    let range = |values: &mut dyn Iterator<Item = &f64>| {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        values.for_each(|&value| (low, high) = (low.min(value), high.max(value)));
        (low, high)
    };
    let ((left, right), (top, bottom)) = (range(&mut { xs }), range(&mut { ys }));
    [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_polygons() {
        let line = parse_line(" 3 0.5 0.25 0.2 0.1\r").unwrap();
        assert_eq!(line, Line { class: 3, bbox: [0.5, 0.25, 0.2, 0.1], polygon: vec![] });
        let line = parse_line("1.0 0.5 0.5 0.75 0.5 0.75 1").unwrap();
        assert_eq!((line.class, line.bbox), (1, [0.625, 0.75, 0.25, 0.5]));
        assert_eq!(line.polygon, [0.5, 0.5, 0.75, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn other_lines_are_refused() {
        let kind = |text| parse_line(text).unwrap_err().0;
        assert_eq!(kind("cat 1 2 3 4"), ProblemKind::AnnotationField);
        assert_eq!(kind("-1 1 2 3 4"), ProblemKind::AnnotationField);
        assert_eq!(kind("1 1 2 x 4"), ProblemKind::AnnotationField);
        assert_eq!(kind("1 1 2 nan 4"), ProblemKind::AnnotationField);
        assert_eq!(kind("1 1 2 3"), ProblemKind::AnnotationField);
        assert_eq!(kind("1 1 2 -3 4"), ProblemKind::NegativeBox);
        assert_eq!(kind("1 .1 .2 .3 .4 .9"), ProblemKind::Polygon);
        let message = parse_line("1 1 2 3").unwrap_err().1;
        let expected = "a line is `class x y width height` or `class x y x y x y ...`, \
                        got \"1 1 2 3\"";
        assert_eq!(message, expected);
    }
}
