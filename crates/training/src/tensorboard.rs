//! Event files that TensorBoard reads: scalars, nothing else.
//!
//! A file is a sequence of TFRecords (length, its checksum, payload, its checksum), each payload an
//! `Event` in protocol buffers, of which six fields are written here by hand. Formats: TensorFlow,
//! `tensorflow/core/lib/io/record_writer.h` and `tensorflow/core/util/event.proto`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::error::TrainingError;

/// TensorBoard takes files whose names contain this.
pub(crate) const FILE_PREFIX: &str = "events.out.tfevents.";

/// Appends scalars to an event file.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in a run folder. `step` optimizer steps are done: what older files of the folder
    /// say of later ones, written before a kill, TensorBoard then forgets.
    pub(crate) fn create(folder: &Path, step: u64) -> Result<Self, TrainingError> {
        let now = SystemTime::now();
        let seconds = since_epoch(now).as_secs();
        // Files of one folder are read in the order of their names.
        let names = (0_u32..).map(|index| {
            folder
                .join(format!("{FILE_PREFIX}{seconds:010}.longtail.{}.{index}", std::process::id()))
        });
        for path in names {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = Self { path, file };
                    events.append(&start_of_file(now))?;
                    events.append(&start_of_session(now, step + 1))?;
                    return Ok(events);
                }
                Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(TrainingError::Write { path, source }),
            }
        }
        Err(TrainingError::Write {
            path: folder.to_path_buf(),
            source: std::io::ErrorKind::AlreadyExists.into(),
        })
    }

    /// Adds the numbers of a line of `metrics.jsonl` at its `step`: those of an object under the
    /// object's name (`eval/AP`), others under `train` (`train/loss`).
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), TrainingError> {
        let failed = |error: serde_json::Error| TrainingError::Write {
            path: self.path.clone(),
            source: error.into(),
        };
        let line = serde_json::to_value(line).map_err(failed)?;
        let step = line.get("step").and_then(Value::as_u64).unwrap_or_default();
        let scalars = scalars(&line);
        self.append(&scalar_event(SystemTime::now(), step, &scalars))
    }

    fn append(&mut self, event: &[u8]) -> Result<(), TrainingError> {
        let written = self.file.write_all(&record(event));
        written.map_err(|source| TrainingError::Write { path: self.path.clone(), source })
    }
}

/// Tags and values of a line; its step is none of them.
fn scalars(line: &Value) -> Vec<(String, f32)> {
    let mut scalars = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        match value {
            Value::Object(group) => {
                for (inner, value) in group {
                    let value =
                        value.as_f64().map(|value| (format!("{name}/{inner}"), value as f32));
                    scalars.extend(value);
                }
            }
            value if name != "step" => {
                scalars.extend(value.as_f64().map(|value| (format!("train/{name}"), value as f32)));
            }
            _ => {}
        }
    }
    // The epoch of an evaluation is that of the training.
    let is_evaluation = scalars.iter().any(|(tag, _)| tag.starts_with("eval/"));
    scalars.retain(|(tag, _)| !(is_evaluation && tag == "train/epoch"));
    scalars
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `Event { wall_time = 1, file_version = 3 }`
fn start_of_file(time: SystemTime) -> Vec<u8> {
    let mut event = wall_time(time);
    bytes_field(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }`; readers drop what they
/// have of this step and of later ones.
fn start_of_session(time: SystemTime, step: u64) -> Vec<u8> {
    let mut event = wall_time(time);
    varint_field(&mut event, 2, step);
    let mut session = Vec::new();
    varint_field(&mut session, 1, 1);
    bytes_field(&mut event, 7, &session);
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } .. } }`
fn scalar_event(time: SystemTime, step: u64, scalars: &[(String, f32)]) -> Vec<u8> {
    let mut event = wall_time(time);
    varint_field(&mut event, 2, step);
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut scalar = Vec::new();
        bytes_field(&mut scalar, 1, tag.as_bytes());
        scalar.push(2 << 3 | FOUR_BYTES);
        scalar.extend(value.to_le_bytes());
        bytes_field(&mut summary, 1, &scalar);
    }
    bytes_field(&mut event, 5, &summary);
    event
}

const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH_AND_BYTES: u8 = 2;
const FOUR_BYTES: u8 = 5;

/// Seconds since 1970 as a double in field 1.
fn wall_time(time: SystemTime) -> Vec<u8> {
    let mut event = vec![1 << 3 | EIGHT_BYTES];
    event.extend(since_epoch(time).as_secs_f64().to_le_bytes());
    event
}

fn varint_field(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3 | VARINT);
    varint(message, value);
}

fn bytes_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | LENGTH_AND_BYTES);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Seven bits per byte, the lowest first; the highest bit says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A TFRecord.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc32c(&length).to_le_bytes());
    record.extend_from_slice(payload);
    record.extend(masked_crc32c(payload).to_le_bytes());
    record
}

/// The checksum of a TFRecord: CRC-32C, rotated and shifted.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, RFC 3720), a bit at a time: a run writes a few kilobytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let bit = |crc: u32| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc));
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn checksums_of_the_rfc() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn bytes_are_those_of_tensorboard() {
        // Written by tensorboard 2.21: scripts/read_tensorboard.py --golden.
        let golden = [
            "1800000000000000a37f4b220900001040fc54d9",
            "411a0d627261696e2e4576656e743a32338d2fe9",
            "100000000000000095fbfe180900001040fc54d9",
            "4110ac023a0208016b3b88f13200000000000000",
            "241956ec0900006040fc54d94110b6022a240a11",
            "0a0a747261696e2f6c6f7373150000a03f0a0f0a",
            "08747261696e2f6c7215cdcccc3d642248f8",
        ];
        let time = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        let line = json!({"step": 310, "loss": 1.25, "lr": 0.1});
        let records = [
            start_of_file(time(1_700_000_000_250)),
            start_of_session(time(1_700_000_000_250), 300),
            scalar_event(time(1_700_000_001_500), 310, &scalars(&line)),
        ];
        let bytes = records.iter().flat_map(|event| record(event));
        let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.concat());
    }

    #[test]
    fn numbers_are_named_after_their_group() {
        let train = json!({"step": 7, "epoch": 0.5, "loss": 2.0, "note": "text", "none": null});
        assert_eq!(scalars(&train), [("train/epoch".into(), 0.5), ("train/loss".into(), 2.0)]);
        let eval = json!({"step": 7, "epoch": 1.0, "eval": {"AP": 0.25}});
        assert_eq!(scalars(&eval), [("eval/AP".into(), 0.25)]);
    }

    #[test]
    fn every_start_is_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        for step in [0, 20] {
            let mut events = EventFile::create(folder.path(), step).unwrap();
            events.write(&json!({"step": step + 1, "loss": 1.0})).unwrap();
        }
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), 2);
        assert!(names.iter().all(|name| name.starts_with(FILE_PREFIX)), "{names:?}");
        let error = EventFile::create(&folder.path().join("none"), 0).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
