//! What a comparison reads from a report.

use longtail_types::ShotGroup;

use crate::{ClassificationReport, text::GROUPS};

/// What is read from a report.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    Overall,
    Macro,
    Shots(ShotGroup),
    MostFrequent(usize),
    Rarest(usize),
    CalibrationError,
}

impl Measure {
    pub(crate) fn all(num_at_ends: usize) -> [Self; 8] {
        let [many, medium, few] = GROUPS.map(Self::Shots);
        let (most, rarest) = (Self::MostFrequent(num_at_ends), Self::Rarest(num_at_ends));
        [Self::Overall, Self::Macro, many, medium, few, most, rarest, Self::CalibrationError]
    }

    /// Macro accuracy is read only where it says something else than micro accuracy.
    pub(crate) fn read(self, report: &ClassificationReport) -> Option<f64> {
        let examples = || report.classes.iter().map(|class| class.num_examples).filter(|&n| n > 0);
        match self {
            Self::Overall => Some(report.micro_accuracy),
            Self::Macro => (examples().min() != examples().max()).then_some(report.macro_accuracy),
            Self::Shots(group) => Some(report.shots.group(group)?.accuracy),
            Self::MostFrequent(number) => Some(report.most_frequent(number)?.accuracy),
            Self::Rarest(number) => Some(report.rarest(number)?.accuracy),
            Self::CalibrationError => Some(report.calibration.as_ref()?.expected_error),
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Overall => "overall".into(),
            Self::Macro => "macro".into(),
            Self::Shots(group) => group.to_string(),
            Self::MostFrequent(number) => format!("frequent {number}"),
            Self::Rarest(number) => format!("rarest {number}"),
            Self::CalibrationError => "calibration error".into(),
        }
    }

    pub(crate) fn num_classes(self, report: &ClassificationReport) -> Option<usize> {
        match self {
            Self::Overall | Self::Macro => {
                Some(report.classes.iter().filter(|class| class.accuracy.is_some()).count())
            }
            Self::Shots(group) => report.shots.group(group).map(|group| group.num_classes),
            Self::MostFrequent(number) => {
                report.most_frequent(number).map(|group| group.num_classes)
            }
            Self::Rarest(number) => report.rarest(number).map(|group| group.num_classes),
            Self::CalibrationError => None,
        }
    }
}
