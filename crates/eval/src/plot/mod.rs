//! Plots as SVG. Every text is left to the viewer's fonts, so drawing needs none.

mod axes;
mod canvas;
mod class_accuracy;
mod class_distribution;
mod comparison;
mod confusion;
mod curves;
mod detection;
mod histogram;
mod precision_recall;
mod reliability;
mod theme;
mod tide;

pub use class_distribution::class_distribution_svg;
pub(crate) use class_distribution::frequency_distribution_svg;
pub(crate) use comparison::svg as comparison_svg;
pub use histogram::BoxShapes;

use crate::{ClassificationReport, EvalError};

impl ClassificationReport {
    /// The plots of a report by file name: training images and accuracy of each class, confusion,
    /// and confidence against accuracy if it was measured.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plots(&self) -> Result<Vec<(&'static str, String)>, EvalError> {
        let mut plots = vec![
            ("class_distribution.svg", class_distribution::of_report(self)?),
            ("class_accuracy.svg", class_accuracy::svg(self)?),
            ("confusion.svg", confusion::svg(self)?),
        ];
        if let Some(calibration) = &self.calibration {
            plots.push(("calibration.svg", reliability::svg(&self.name, calibration)?));
        }
        Ok(plots)
    }
}
