//! Every case on every device, in every form.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use burn::tensor::Device;
use longtail_kernels::{has_fused_forms, is_fused, set_fused};

use crate::case::{Case, Quantity, Record};
use crate::cases::cases;
use crate::compare::errors;
use crate::error::ConformanceError;
use crate::known::known_fault;
use crate::report::{Cell, Column, Form, Report, Row, Verdict};
use crate::tolerance::{ProductPrecision, tolerance};

/// A device and its name in the report.
#[derive(Clone, Debug)]
pub struct DeviceUnderTest {
    /// As `longtail devices` says it: `flex`, `wgpu`, `cuda:1`. On `cuda`, products may be rounded
    /// to TF32, and have the tolerances of that.
    pub name: String,
    /// The device, without autodiff.
    pub device: Device,
}

impl DeviceUnderTest {
    fn products(&self) -> ProductPrecision {
        match self.name.split(':').next() {
            Some("cuda") => ProductPrecision::Tf32,
            _ => ProductPrecision::Float32,
        }
    }
}

/// Runs all cases on all devices; `progress` hears of each case before it starts.
///
/// The first device, composed, is the reference of the cases that have none on the host.
///
/// A panic inside a backend counts as a failure of the case, and the suite goes on.
pub fn run(devices: &[DeviceUnderTest], progress: &mut dyn FnMut(&str)) -> Report {
    let before = is_fused();
    let columns = columns(devices);
    let mut rows = Vec::new();
    let mut seconds = vec![0.0; columns.len()];
    for case in cases() {
        let mut outcomes = Vec::new();
        for (column, (device, form)) in columns.iter().enumerate() {
            progress(&format!("{} on {}, {}", case.name, device.name, form.name()));
            set_fused(*form == Form::Fused);
            let start = Instant::now();
            outcomes.push(outcome(&case, &device.device));
            seconds[column] += start.elapsed().as_secs_f64();
        }
        rows.extend(rows_of(&case, &columns, &outcomes));
    }
    set_fused(before);
    let columns = columns.into_iter().zip(seconds);
    let columns = columns.map(|((device, form), seconds)| Column {
        device: device.name.clone(),
        form,
        seconds,
    });
    Report { columns: columns.collect(), rows }
}

/// Every device composed, and fused where it has fused forms.
fn columns(devices: &[DeviceUnderTest]) -> Vec<(&DeviceUnderTest, Form)> {
    let forms = |device: &DeviceUnderTest| match has_fused_forms(&device.device) {
        true => vec![Form::Composed, Form::Fused],
        false => vec![Form::Composed],
    };
    devices
        .iter()
        .flat_map(|device| forms(device).into_iter().map(move |form| (device, form)))
        .collect()
}

/// How a case ended on a device.
enum Outcome {
    /// With the outputs of each draw.
    Done(Vec<Record>),
    /// The device does not have what the case is about.
    NotThere,
    /// With this problem.
    Failed(String),
}

fn outcome(case: &Case, device: &Device) -> Outcome {
    let compute = || -> Result<Vec<Record>, ConformanceError> {
        let draws = case.draws.iter().map(|compute| {
            let mut record = Record::default();
            compute(device, &mut record).map(|()| record)
        });
        draws.collect()
    };
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(Ok(records)) => Outcome::Done(records),
        Ok(Err(ConformanceError::NotThere { .. })) => Outcome::NotThere,
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Err(panic) => Outcome::Failed(message(panic.as_ref())),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
    format!("panic: {}", text.lines().next().unwrap_or_default())
}

/// One row per quantity; one row that says why where there is no reference.
fn rows_of(case: &Case, columns: &[(&DeviceUnderTest, Form)], outcomes: &[Outcome]) -> Vec<Row> {
    let reference: &[Record] = match (&case.host, outcomes.first()) {
        (Some(host), _) => std::slice::from_ref(host),
        (None, Some(Outcome::Done(records))) => records,
        _ => &[],
    };
    let mut quantities: Vec<Quantity> = Vec::new();
    for (quantity, _) in reference.iter().flat_map(|record| &record.outputs) {
        if !quantities.contains(quantity) {
            quantities.push(*quantity);
        }
    }
    if reference.is_empty() {
        // The first device failed.
        quantities.push(Quantity::Forward);
    }
    let cells: Vec<Vec<Cell>> = columns
        .iter()
        .zip(outcomes)
        .map(|((device, _), outcome)| cells(case, device, outcome, reference, &quantities))
        .collect();
    let row = |(index, quantity): (usize, &Quantity)| Row {
        case: case.name.clone(),
        arithmetic: case.arithmetic,
        quantity: *quantity,
        is_host_reference: case.host.is_some(),
        cells: cells.iter().map(|cells| cells[index].clone()).collect(),
    };
    quantities.iter().enumerate().map(row).collect()
}

/// The cells of one device and form, one per quantity.
fn cells(
    case: &Case,
    device: &DeviceUnderTest,
    outcome: &Outcome,
    reference: &[Record],
    quantities: &[Quantity],
) -> Vec<Cell> {
    let known = known_fault(&device.name, &case.name);
    let errors = match (outcome, reference) {
        (Outcome::Done(_), []) => Err("nothing to compare with".to_owned()),
        (Outcome::Done(records), _) => {
            let draws = records.iter().zip(reference);
            Ok(draws.map(|(record, reference)| errors(record, reference)).collect::<Vec<_>>())
        }
        (Outcome::NotThere, _) => Ok(Vec::new()),
        (Outcome::Failed(problem), _) => Err(problem.clone()),
    };
    let cell = |&quantity: &Quantity| {
        let tolerance = tolerance(case.arithmetic, quantity, device.products());
        let error = errors.as_ref().ok().and_then(|draws| median(draws, quantity));
        let verdict = match (&errors, error, known) {
            (_, Some(error), _) if error <= tolerance => Verdict::Passed,
            _ if matches!(outcome, Outcome::NotThere) => Verdict::NotThere,
            (_, _, Some(reason)) => Verdict::Known { reason: reason.to_owned() },
            (Err(problem), ..) => Verdict::Failed { reason: problem.clone() },
            (Ok(_), ..) => Verdict::Failed { reason: "beyond the tolerance".into() },
        };
        Cell { error, tolerance, verdict }
    };
    quantities.iter().map(cell).collect()
}

/// The median error of a quantity over the draws.
fn median(draws: &[Vec<(Quantity, f64)>], quantity: Quantity) -> Option<f64> {
    let of_draw = |errors: &Vec<(Quantity, f64)>| {
        errors.iter().find(|(known, _)| *known == quantity).map(|(_, error)| *error)
    };
    let mut errors: Vec<f64> = draws.iter().filter_map(of_draw).collect();
    errors.sort_by(f64::total_cmp);
    errors.get(errors.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_draws_counts() {
        let draw = |error: f64| vec![(Quantity::Forward, 1.0), (Quantity::Gradient, error)];
        let draws = [draw(3.0), draw(f64::INFINITY), draw(1.0)];
        assert_eq!(median(&draws, Quantity::Gradient), Some(3.0));
        assert_eq!(median(&draws, Quantity::Losses), None);
        assert_eq!(median(&[], Quantity::Forward), None);
    }
}
