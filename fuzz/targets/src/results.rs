//! Files of a run: metrics line by line, and reports.

use longtail::eval::{ClassificationReport, DetectionReport, MetricsLog};

use crate::Scratch;

/// The first byte says which file the rest is.
pub(crate) fn results(bytes: &[u8], scratch: &Scratch<'_>) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let out = scratch.path("report");
    let _ = std::fs::create_dir_all(&out);
    match first % 3 {
        0 => {
            let path = scratch.file("metrics.jsonl", rest);
            if let Ok(log) = MetricsLog::read(&path) {
                let _ = log.write_curves(&scratch.path("curves.svg"), "fuzzed");
            }
        }
        1 => {
            let path = scratch.file("report.json", rest);
            if let Ok(report) = ClassificationReport::read(&path) {
                let _ = (report.table(), report.write(&out));
            }
        }
        _ => {
            let path = scratch.file("report.json", rest);
            if let Ok(report) = DetectionReport::read(&path) {
                let _ = (report.table(), report.write(&out));
            }
        }
    }
}
