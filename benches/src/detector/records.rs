//! The stages of a detector's step as records of a report.

use super::{DetectorOptions, DetectorRow, WHOLE, measure};
use crate::report::{Measurement, Outcome, Record, Side, SideRecord};
use crate::work::{Case, Work};

/// Runs the step of `whole`; its stages, and then itself. A failure is the record of the whole.
pub(crate) fn records(whole: &Case, options: &DetectorOptions) -> Vec<Record> {
    match measure(options, &mut |_| ()) {
        Ok(rows) => rows.into_iter().map(|row| record(whole, row)).collect(),
        Err(error) => {
            let outcome = Outcome::Failed(format!("{error:#}"));
            vec![Record {
                case: whole.clone(),
                sides: vec![SideRecord { side: Side::Ours, outcome }],
            }]
        }
    }
}

fn record(whole: &Case, row: DetectorRow) -> Record {
    let mut case = whole.clone();
    if row.stage != WHOLE {
        case.name = format!("{}: {}", whole.name, row.stage);
        case.work = Work::Detector { step: row.case, stage: row.stage };
    }
    let times = [(Side::Ours, Some(row.ours))].into_iter().chain(match row.peer {
        Some([plain, raised]) => [(Side::Peer, Some(plain)), (Side::PeerRaised, Some(raised))],
        None => [(Side::Peer, None), (Side::PeerRaised, None)],
    });
    let times = times.filter_map(|(side, times)| Some((side, times?)));
    let side = |(index, (side, times))| {
        let check = row.checks.get(index).copied();
        let outcome = Outcome::Measured(Measurement { times, peak_bytes: None, check });
        SideRecord { side, outcome }
    };
    Record { case, sides: times.enumerate().map(side).collect() }
}
