//! What a request asks for beside its image.

use axum::extract::rejection::QueryRejection;
use serde::Deserialize;

use crate::model::ServedModel;
use crate::problem::Problem;

/// Keys of `POST /predict`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    format: Option<Format>,
    min_score: Option<f32>,
    max_detections: Option<usize>,
    top: Option<usize>,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Json,
    /// The image with its detections drawn, in the form it came in.
    Image,
}

/// What to do with an image, checked against the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wish {
    /// The best classes, so many.
    Classes { top: usize },
    /// Objects of at least this score, so many at most.
    Objects { format: Format, min_score: f32, max: usize },
}

/// Objects in an answer, unless the request says otherwise: as many as COCO counts.
const MAX_DETECTIONS: usize = 100;
/// Classes in an answer, unless the request says otherwise.
const TOP: usize = 3;

pub(crate) fn parsed(
    query: Result<axum::extract::Query<Query>, QueryRejection>,
) -> Result<Query, Problem> {
    let message = |refused: QueryRejection| Problem::bad("bad_query", refused.body_text());
    query.map(|query| query.0).map_err(message)
}

impl Query {
    /// What is asked of a model; `min_score` where the request does not say.
    pub(crate) fn wish(self, model: &ServedModel, min_score: f32) -> Result<Wish, Problem> {
        match model {
            ServedModel::Classifier(_) => self.classes(),
            ServedModel::Detector(_) => self.objects(min_score),
        }
    }

    fn classes(self) -> Result<Wish, Problem> {
        if self.format == Some(Format::Image) {
            return bad("format=image draws detections, but the model is a classifier");
        }
        for (name, is_there) in [
            ("min_score", self.min_score.is_some()),
            ("max_detections", self.max_detections.is_some()),
        ] {
            if is_there {
                return bad(&format!("{name} is for detectors, but the model is a classifier"));
            }
        }
        let top = self.top.unwrap_or(TOP);
        if top == 0 {
            return bad("top must be at least 1, not 0");
        }
        Ok(Wish::Classes { top })
    }

    fn objects(self, min_score: f32) -> Result<Wish, Problem> {
        if self.top.is_some() {
            return bad("top is for classifiers, but the model is a detector");
        }
        let min_score = self.min_score.unwrap_or(min_score);
        if !(0.0..=1.0).contains(&min_score) {
            return bad(&format!("min_score must be from 0 to 1, not {min_score}"));
        }
        let max = self.max_detections.unwrap_or(MAX_DETECTIONS);
        if max == 0 {
            return bad("max_detections must be at least 1, not 0");
        }
        Ok(Wish::Objects { format: self.format.unwrap_or_default(), min_score, max })
    }
}

fn bad(message: &str) -> Result<Wish, Problem> {
    Err(Problem::bad("bad_query", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        let uri = format!("/predict?{text}").parse().unwrap();
        parsed(axum::extract::Query::try_from_uri(&uri))
    }

    #[test]
    fn keys_and_values_are_checked() {
        let objects = |text: &str| query(text).and_then(|query| query.objects(0.3)).ok();
        let expected = Wish::Objects { format: Format::Json, min_score: 0.3, max: 100 };
        assert_eq!(objects(""), Some(expected));
        let expected = Wish::Objects { format: Format::Image, min_score: 0.5, max: 7 };
        assert_eq!(objects("format=image&min_score=0.5&max_detections=7"), Some(expected));
        for text in [
            "format=xml",
            "min_score=high",
            "min_score=1.5",
            "min_score=NaN",
            "max_detections=0",
            "max_detections=-1",
            "max_detections=99999999999999999999",
            "min_score=0.5&min_score=0.6",
            "score=0.5",
            "top=3",
        ] {
            assert!(objects(text).is_none(), "{text}");
        }
        let classes = |text: &str| query(text).and_then(Query::classes).ok();
        assert_eq!(classes("top=5"), Some(Wish::Classes { top: 5 }));
        assert_eq!(classes(""), Some(Wish::Classes { top: 3 }));
        for text in ["top=0", "format=image", "min_score=0.1", "max_detections=3"] {
            assert!(classes(text).is_none(), "{text}");
        }
    }
}
