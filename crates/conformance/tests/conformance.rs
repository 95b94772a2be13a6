//! The suite on the CPU backend in pure Rust, and on the device under test beside it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use burn::tensor::Device;
use longtail_conformance::{DeviceUnderTest, Form, run};

#[test]
fn every_device_agrees() {
    let flex = DeviceUnderTest { name: "flex".into(), device: Device::flex() };
    let mut devices = vec![flex];
    let other = longtail_testing::device();
    if other != Device::flex() {
        let name = std::env::var("BURN_DEVICE").unwrap_or_else(|_| "default device".into());
        devices.push(DeviceUnderTest { name, device: other });
    }
    let before = longtail_kernels::is_fused();
    let report = run(&devices, &mut |case| eprintln!("{case}"));
    eprintln!("{report}");
    assert!(report.is_passed(), "{}", report.failures().join("\n"));
    assert_eq!(longtail_kernels::is_fused(), before);
    assert_eq!((report.columns[0].form, report.columns[1].form), (Form::Composed, Form::Fused));
    assert!(report.rows.len() >= 60, "{} rows", report.rows.len());
    // The reference agrees with itself to the bit, and nothing else of note does.
    let is_own = |row: &&longtail_conformance::Row| !row.is_host_reference;
    let mut own = report.rows.iter().filter(is_own);
    let error = |cell: &longtail_conformance::Cell| cell.error.unwrap();
    assert!(own.clone().any(|row| error(&row.cells[1]) > 0.0), "two forms with the same bits");
    assert!(own.all(|row| error(&row.cells[0]).fract() == 0.0));
}
