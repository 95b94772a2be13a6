//! Every suite at tiny sizes, without a peer; reports written, read and merged.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use longtail_bench::{BenchError, BenchOptions, Outcome, Report, Side, Suite, run};

fn quick(suites: &[Suite]) -> Report {
    let options = BenchOptions {
        suites: suites.to_vec(),
        is_quick: true,
        rounds: 2,
        turn_ms: 1.0,
        ..Default::default()
    };
    let mut seen = 0;
    let report = run(&options, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, report.sessions[0].records.len());
    report
}

#[test]
fn every_suite_runs() {
    let report = quick(&Suite::ALL);
    let [session] = &report.sessions[..] else { panic!("one device") };
    assert_eq!(session.notes, [""; 0]);
    for suite in Suite::ALL {
        assert!(session.suite(suite).count() > 0, "{suite}");
    }
    for record in &session.records {
        for side in &record.sides {
            let Outcome::Measured(measured) = &side.outcome else {
                panic!("{}: {:?}", record.case.name, side.outcome);
            };
            let times = measured.times;
            assert!(times.min_ms > 0.0 && times.cold_ms > 0.0 && times.calls >= 2);
            assert!(times.lower_ms <= times.median_ms && times.median_ms <= times.upper_ms);
        }
        assert_eq!(record.ratio(), None, "there is no peer");
    }
    // Fused and composed RoIAlign pool the same.
    let pooled: Vec<_> = session.suite(Suite::RoiAlign).collect();
    assert!(pooled.iter().all(|record| record.agrees() == Some(true)), "{pooled:?}");
    assert!(pooled.iter().all(|record| record.measurement(Side::Composed).is_some()));
    // Half of the objects are found with some overlap.
    let evaluation = session.suite(Suite::Evaluation).next().unwrap();
    let ap = evaluation.measurement(Side::Ours).unwrap().check.unwrap();
    assert!((0.01..1.0).contains(&ap), "{ap}");

    let text = report.markdown();
    for words in ["### losses", "| eql-v2 [512, 80] | forward+backward |", "### cost of a logit"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn reports_are_written_read_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let report = quick(&[Suite::Nms, Suite::Losses]);
    report.write(folder.path()).unwrap();
    let read = Report::read(&folder.path().join("bench.json")).unwrap();
    assert_eq!(read, report);
    let svg = std::fs::read_to_string(folder.path().join("logits.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("nanoseconds per logit"));
    assert!(!folder.path().join("ratios.svg").exists(), "nothing to compare with");

    let [mut first, mut rest] = [read.clone(), read.clone()];
    first.sessions[0].records.truncate(2);
    rest.sessions[0].records.drain(..2);
    assert_eq!(Report::merge([first, rest]), report, "parts of one run");

    let mut other = read;
    other.sessions[0].device = "other".into();
    let merged = Report::merge([report, other]);
    assert_eq!(merged.sessions.len(), 2);
    let text = merged.markdown();
    assert!(text.contains("## Devices side by side") && text.contains("2. other on"), "{text}");
    let both = folder.path().join("both");
    merged.write(&both).unwrap();
    let svg = std::fs::read_to_string(both.join("ratios.svg")).unwrap();
    assert!(svg.contains("Time over the one of flex"), "{svg}");
}

#[test]
fn bad_options_are_refused() {
    let refused = |options: BenchOptions| {
        let options = BenchOptions { is_quick: true, suites: vec![Suite::Nms], ..options };
        run(&options, &mut |_| panic!("nothing may run")).unwrap_err().to_string()
    };
    let default = BenchOptions::default;
    let message = refused(BenchOptions { devices: vec!["gpu".into()], ..default() });
    assert!(message.starts_with("unknown device \"gpu\"; usable here: flex"), "{message}");
    let message = refused(BenchOptions { only: Some("conv".into()), ..default() });
    assert_eq!(message, "no case of nms contains \"conv\"");
    let message = refused(BenchOptions { rounds: 0, ..default() });
    assert_eq!(message, "rounds must be positive, got 0");
    let message = refused(BenchOptions { threads: Some(0), ..default() });
    assert_eq!(message, "threads must be positive, got 0");
    let message = refused(BenchOptions { peer: Some("/no/python".into()), ..default() });
    assert!(message.starts_with("the peer \"/no/python\" cannot be started: "), "{message}");
}

#[test]
fn what_is_no_report_is_refused() {
    let missing = Report::read(Path::new("/no/bench.json")).unwrap_err();
    assert!(matches!(missing, BenchError::File { action: "read", .. }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.json");
    for (text, words) in [
        ("{", "is no benchmark report: EOF"),
        (r#"{"format": 7, "sessions": []}"#, "its format is 7, not 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = Report::read(&path).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}
