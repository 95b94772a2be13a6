//! Shot accuracy, calibration and reports for long-tailed recognition.
