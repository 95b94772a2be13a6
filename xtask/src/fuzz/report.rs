//! What libFuzzer says at its end.

use std::fmt;
use std::time::Duration;

/// One target's run.
pub(super) struct Report {
    pub(super) name: String,
    pub(super) has_finding: bool,
    seconds: f64,
    runs: Option<u64>,
    /// Edges of the counted code that were reached.
    edges: Option<u64>,
    /// Inputs that reached something new.
    corpus: Option<u64>,
    /// Largest memory in MiB.
    memory: Option<u64>,
}

impl Report {
    pub(super) fn of(name: &str, log: &str, time: Duration, has_finding: bool) -> Self {
        let stat = |key: &str| {
            let line = log.lines().rev().find(|line| line.starts_with(key))?;
            line.split_whitespace().next_back()?.parse().ok()
        };
        Self {
            name: name.to_owned(),
            has_finding,
            seconds: time.as_secs_f64(),
            runs: stat("stat::number_of_executed_units:"),
            edges: after(log, "cov: "),
            corpus: after(log, "corp: "),
            memory: stat("stat::peak_rss_mb:"),
        }
    }

    /// All of them, in Markdown.
    pub(super) fn table(reports: &[Self]) -> String {
        let mut text = "| target | seconds | runs | edges | inputs | MiB | finding |\n\
                        |---|---:|---:|---:|---:|---:|---|\n"
            .to_owned();
        let show = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |v| v.to_string());
        for report in reports {
            let finding = if report.has_finding { "YES" } else { "none" };
            let numbers = [report.runs, report.edges, report.corpus, report.memory].map(show);
            let [name, seconds] = [report.name.clone(), format!("{:.0}", report.seconds)];
            text += &format!("| {name} | {seconds} | {} | {finding} |\n", numbers.join(" | "));
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.has_finding { "A FINDING" } else { "no finding" };
        let show = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |v| v.to_string());
        let [runs, edges, corpus] = [self.runs, self.edges, self.corpus].map(show);
        let Self { name, seconds, .. } = self;
        write!(
            f,
            "{name:<14} {outcome}: {runs} runs in {seconds:.0} s, {edges} edges, {corpus} inputs"
        )
    }
}

/// The number after the last `key` of the log.
fn after(log: &str, key: &str) -> Option<u64> {
    let rest = log.rsplit_once(key)?.1;
    rest.split(|symbol: char| !symbol.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_log() {
        let log = "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 27Mb\n\
                   #64\tDONE   cov: 211 ft: 340 corp: 17/1034b lim: 4 exec/s: 32 rss: 30Mb\n\
                   Done 64 runs in 2 second(s)\n\
                   stat::number_of_executed_units: 64\nstat::peak_rss_mb:              31\n";
        let report = Report::of("voc", log, Duration::from_secs(2), false);
        let table = Report::table(&[report]);
        assert!(table.ends_with("| voc | 2 | 64 | 211 | 17 | 31 | none |\n"), "{table}");
        let crashed = Report::of("voc", "", Duration::from_secs(1), true);
        assert!(crashed.to_string().contains("A FINDING: ? runs"), "{crashed}");
    }
}
