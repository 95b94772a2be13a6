//! Pages of HTML in one file: everything is inside, nothing is fetched, and they work without
//! JavaScript, which only sorts and filters.

mod classification;
mod dataset;
mod detection;
mod html;
mod picture;
mod table;

pub use classification::classification_page;
pub use dataset::{ClassExamples, DatasetPage, ProblemGroup};
pub use detection::detection_page;
pub use html::escape_html;
pub use picture::Picture;

/// What a page about a run shows beside the numbers of its report.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunExtras {
    /// Training curves as SVG, from [`MetricsLog::curves_svg`](crate::MetricsLog::curves_svg).
    pub curves: Option<String>,
    /// Pictures of errors, group by group.
    pub galleries: Vec<Gallery>,
    /// What a reader must know about the page: what was left out, what could not be read.
    pub notes: Vec<String>,
}

/// A group of pictures with a title.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gallery {
    /// What the pictures have in common.
    pub title: String,
    /// What that means, in a sentence.
    pub text: String,
    /// The pictures, the worst error first.
    pub pictures: Vec<Picture>,
}
