//! Reports as Markdown tables.

use std::fmt::Write;

use crate::fit::{cost_fit, points};
use crate::report::{Record, Report, Session, Side};
use crate::summary::geometric_mean;
use crate::work::{Pass, Suite};

impl Report {
    /// Everything as Markdown: what was measured where, a table for each suite, and the devices
    /// side by side where there are several.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Benchmarks\n");
        if self.sessions.len() > 1 {
            text.push_str(&comparison(&self.sessions));
        }
        self.sessions.iter().for_each(|session| text.push_str(&self::session(session)));
        text
    }
}

impl Session {
    /// Device and, where several runs are of one device, what tells them apart.
    pub(crate) fn title(&self) -> String {
        if self.device_name == self.machine.cpu {
            format!("{} on {}, {} threads", self.device, self.device_name, self.threads)
        } else {
            format!("{} on {}", self.device, self.device_name)
        }
    }
}

fn session(session: &Session) -> String {
    let mut text = format!("\n## {}\n\n", session.title());
    let Session { machine, date, threads, longtail, burn, rounds, .. } = session;
    let memory = machine
        .memory_bytes
        .map_or(String::new(), |bytes| format!(", {:.0} GB of memory", bytes as f64 / 1e9));
    let vectors = machine.vectors.join(" ");
    let _ = writeln!(
        text,
        "{date}. {}, {} cores {vectors}{memory}, {}. longtail {longtail}, Burn {burn}, {threads} \
         threads, {rounds} rounds.",
        machine.cpu, machine.cores, machine.system
    );
    if let Some(peer) = &session.peer {
        let _ = writeln!(
            text,
            "Beside it PyTorch {}, torchvision {}, Python {} on {} ({}), eager, {threads} threads.",
            peer.torch, peer.torchvision, peer.python, peer.device, peer.device_name
        );
    }
    if session.is_quick {
        text.push_str(
            "Quick: small cases that show that everything runs; the times mean little.\n",
        );
    }
    text.push_str(
        "\nMilliseconds: median and, in brackets, half of the distance of the quartiles. Cold is \
         the first call. The ratio is ours over the faster of the two PyTorch columns.\n",
    );
    for suite in Suite::ALL {
        let records: Vec<&Record> = session.suite(suite).collect();
        if !records.is_empty() {
            text.push_str(&table(suite, &records));
        }
    }
    text.push_str(&growth(session));
    if !session.notes.is_empty() {
        text.push_str("\nLeft out:\n\n");
        session.notes.iter().for_each(|note| {
            let _ = writeln!(text, "- {note}");
        });
    }
    text
}

/// The columns after ours that at least one record fills.
const OTHERS: [(Side, &str); 3] = [
    (Side::Composed, "composed"),
    (Side::Peer, "PyTorch"),
    (Side::PeerRaised, "PyTorch, raised thresholds"),
];

fn table(suite: Suite, records: &[&Record]) -> String {
    let has = |side| records.iter().any(|record| record.sides.iter().any(|s| s.side == side));
    let others: Vec<(Side, &str)> = OTHERS.into_iter().filter(|(side, _)| has(*side)).collect();
    let has_ratio = records.iter().any(|record| record.ratio().is_some());
    let has_memory = suite == Suite::DenseHead;

    let mut header = vec!["case", "pass", "ours", "cold"];
    header.extend(others.iter().map(|(_, name)| name));
    if has_ratio {
        header.push("ratio");
    }
    if has_memory {
        header.extend(["peak memory over the inputs", "of the logits"]);
        if has(Side::Peer) {
            header.push("PyTorch's peak");
        }
    }
    let mut text = format!("\n### {suite}\n\n| {} |\n", header.join(" | "));
    let rules: Vec<&str> = (0..header.len()).map(|i| if i < 2 { "---" } else { "---:" }).collect();
    let _ = writeln!(text, "| {} |", rules.join(" | "));
    for record in records {
        let case = &record.case;
        let count = if case.count > 1 { format!(" ×{}", case.count) } else { String::new() };
        let mut cells = vec![format!("{}{count}", case.name), case.pass.to_string()];
        cells.push(times(record, Side::Ours));
        cells.push(record.measurement(Side::Ours).map_or("–".into(), |m| digits(m.times.cold_ms)));
        cells.extend(others.iter().map(|(side, _)| times(record, *side)));
        if has_ratio {
            let mark = if record.agrees() == Some(false) { " ≠" } else { "" };
            cells.push(record.ratio().map_or("–".into(), |ratio| format!("{ratio:.2}{mark}")));
        }
        if has_memory {
            let peak = |side| record.measurement(side).and_then(|m| m.peak_bytes);
            let bytes = |bytes: Option<u64>| match bytes {
                Some(bytes) => format!("{:.0} MB", bytes as f64 / 1e6),
                None => "–".into(),
            };
            let of_logits = peak(Side::Ours).zip(case.work.logit_bytes());
            cells.push(bytes(peak(Side::Ours)));
            cells.push(of_logits.map_or("–".into(), |(peak, logits)| {
                format!("{:.2}×", peak as f64 / logits as f64)
            }));
            if has(Side::Peer) {
                cells.push(bytes(peak(Side::Peer)));
            }
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push_str(&means(records));
    text.push_str(&problems(records));
    text
}

/// Geometric mean and extremes of the ratios of each pass; stages are no cases of their own.
fn means(records: &[&Record]) -> String {
    let mut text = String::new();
    for pass in [Pass::Forward, Pass::ForwardBackward] {
        let of_pass = records
            .iter()
            .filter(|record| record.case.pass == pass && !record.case.work.is_stage());
        let ratios: Vec<(f64, usize)> =
            of_pass.filter_map(|record| Some((record.ratio()?, record.case.count))).collect();
        let values = ratios.iter().map(|(ratio, _)| *ratio);
        let low = values.clone().min_by(f64::total_cmp);
        let high = values.max_by(f64::total_cmp);
        let mean = geometric_mean(ratios.iter().copied());
        if let (Some(low), Some(high), Some(mean), true) = (low, high, mean, ratios.len() > 1) {
            let count: usize = ratios.iter().map(|(_, count)| count).sum();
            let _ = writeln!(
                text,
                "\n{pass}: geometric mean of {count} ratios {mean:.2}, from {low:.2} to {high:.2}."
            );
        }
    }
    text
}

fn problems(records: &[&Record]) -> String {
    let mut text = String::new();
    for record in records {
        for (side, reason) in record.failures() {
            let reason = reason.lines().next().unwrap_or_default();
            let _ = writeln!(text, "\n{}: {} failed: {reason}", record.case.name, name(side));
        }
        if record.agrees() == Some(false) {
            let check = |s: &crate::SideRecord| {
                let check = record.measurement(s.side)?.check?;
                Some(format!("{} {check}", name(s.side)))
            };
            let checks: Vec<String> = record.sides.iter().filter_map(check).collect();
            let _ = writeln!(
                text,
                "\n≠ {}, {}: the sides do not compute the same: {}",
                record.case.name,
                record.case.pass,
                checks.join(", ")
            );
        }
    }
    text
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Ours => "ours",
        other => OTHERS.iter().find(|(side, _)| *side == other).map_or("", |(_, name)| name),
    }
}

/// Fixed cost, slope and the range above 16 MiB for each method.
fn growth(session: &Session) -> String {
    let methods = points(session, Side::Ours);
    let fits: Vec<_> =
        methods.iter().filter_map(|(method, points)| Some((method, cost_fit(points)?))).collect();
    if fits.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n### cost of a logit\n\nBelow 16 MiB of logits: fixed cost and slope by least squares. \
         From 16 MiB on: cheapest and dearest logit, and how far they are apart.\n\n\
         | loss | fixed, µs | slope, ns | from 16 MiB, ns | spread |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for (method, fit) in fits {
        let large = fit.large_ns.map(|[low, high]| format!("{low:.2} to {high:.2}"));
        let spread = fit.large_spread().map(|spread| format!("{:.0} %", 100.0 * spread));
        let _ = writeln!(
            text,
            "| {method} | {:.0} | {:.2} | {} | {} |",
            fit.fixed_us,
            fit.slope_ns,
            large.unwrap_or("–".into()),
            spread.unwrap_or("–".into())
        );
    }
    text
}

/// Our medians of all sessions side by side, then the ratios.
fn comparison(sessions: &[Session]) -> String {
    let mut text = String::from("\n## Devices side by side\n\nOur medians in milliseconds.\n");
    for (number, session) in sessions.iter().enumerate() {
        let _ = write!(text, "\n{}. {}, {}", number + 1, session.title(), session.date);
    }
    text.push('\n');
    for suite in Suite::ALL {
        let mut cases: Vec<&Record> = Vec::new();
        for record in sessions.iter().flat_map(|session| session.suite(suite)) {
            if !cases.iter().any(|known| known.case.is_same_work(&record.case)) {
                cases.push(record);
            }
        }
        if cases.is_empty() {
            continue;
        }
        let columns: Vec<String> = (1..=sessions.len()).map(|n| format!("{n}.")).collect();
        let rules = " ---: |".repeat(sessions.len());
        let columns = columns.join(" | ");
        let _ = write!(text, "\n### {suite}, all\n\n| case | pass | {columns} |\n| --- | --- |");
        let _ = writeln!(text, "{rules}");
        for record in cases {
            let cell = |session: &Session| {
                let same = |other: &&Record| other.case.is_same_work(&record.case);
                let median = session.suite(suite).find(same).and_then(|r| r.median_ms(Side::Ours));
                median.map_or("–".into(), digits)
            };
            let cells: Vec<String> = sessions.iter().map(cell).collect();
            let (name, pass) = (&record.case.name, record.case.pass);
            let _ = writeln!(text, "| {name} | {pass} | {} |", cells.join(" | "));
        }
    }
    text
}

/// Median and half of the distance of the quartiles.
fn times(record: &Record, side: Side) -> String {
    record.measurement(side).map_or("–".into(), |measurement| {
        let times = &measurement.times;
        let half = (times.upper_ms - times.lower_ms) / 2.0;
        format!("{} ({})", digits(times.median_ms), digits(half))
    })
}

/// Three significant digits.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
