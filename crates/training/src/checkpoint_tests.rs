//! Checkpoints: what is saved comes back, and damage never gives another run.

use longtail_testing::{calm, damage_file, damages, holds, names_file};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// Tensors of every type that checkpoints hold, empty ones too.
fn tensors() -> impl Strategy<Value = NamedTensors> {
    let shape = vec(0..4_usize, 1..4);
    let tensor = (shape, 0..5_u8, any::<u64>()).prop_map(|(shape, kind, bits)| {
        let len: usize = shape.iter().product();
        // Any bits, so that numbers that are none and infinite ones are among them.
        let bits = (0..len as u32).map(|place| bits.rotate_left(7 * place));
        match kind {
            0 => TensorData::new(bits.map(|b| f32::from_bits(b as u32)).collect(), shape),
            1 => TensorData::new(bits.map(f64::from_bits).collect(), shape),
            2 => TensorData::new(bits.map(|b| b as i64).collect(), shape),
            3 => TensorData::new(bits.map(|b| b as u8).collect(), shape),
            _ => TensorData::new(bits.map(|b| b % 2 == 1).collect(), shape),
        }
    });
    let name = (0..6_u8).prop_map(|name| format!("model.{name}.weight"));
    btree_map(name, tensor, 0..5).prop_map(|tensors| tensors.into_iter().collect())
}

fn state() -> impl Strategy<Value = RunState> {
    let recipe = vec(any::<char>(), 0..20).prop_map(String::from_iter);
    let best = option::of((0.0..1.0_f64, any::<u64>()));
    let numbers = any::<[u64; 4]>();
    (recipe, 1..50_u64, numbers, best, option::of(0.0..1.0_f64)).prop_map(
        |(recipe, count, [epoch, batch, step, metrics_bytes], best, tau)| {
            let counts = ClassCounts::new(vec![count], vec![count + 3], count + 1).unwrap();
            let classes = ClassMap::from_names(["a \"b\"\n"]).unwrap();
            RunState {
                epoch,
                batch,
                step,
                metrics_bytes,
                best: best.map(|(score, step)| BestScore { score, step }),
                base_checkpoint: tau.map(|_| CheckpointId { step, crc32: "0".into() }),
                tau,
                ..RunState::new(recipe, counts, classes)
            }
        },
    )
}

/// Compared by bits: a number that is none equals nothing.
fn bits(tensors: &NamedTensors) -> Vec<(&String, String, &[u8])> {
    let entry = |(name, data): (_, &'_ TensorData)| {
        (name, format!("{:?} {:?}", data.dtype(), data.shape()))
    };
    let entries = tensors.iter().map(|(name, data)| (entry((name, data)), data.as_bytes()));
    entries.map(|((name, form), bytes)| (name, form, bytes)).collect()
}

#[test]
fn what_is_saved_comes_back_and_damage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    holds(400, (state(), tensors(), damages()), |(state, tensors, damages)| {
        save(&path, &state, &tensors).unwrap();
        let (found, loaded) = load(&path).unwrap();
        prop_assert_eq!(&found, &state);
        prop_assert_eq!(bits(&loaded), bits(&tensors));

        damage_file(&path, &damages);
        match calm(|| load(&path))? {
            // Damage of blanks in the header alone, or none.
            Ok((found, loaded)) => {
                prop_assert_eq!(&found, &state);
                prop_assert_eq!(bits(&loaded), bits(&tensors));
            }
            Err(error) => names_file(&error.to_string(), &path)?,
        }
        Ok(())
    });
}

fn example() -> (RunState, NamedTensors) {
    let counts = ClassCounts::new(vec![50, 5], vec![60, 5], 52).unwrap();
    let classes = ClassMap::from_names(["a", "b"]).unwrap();
    let mut state = RunState::new("seed = 1\n".into(), counts, classes);
    (state.epoch, state.batch, state.step) = (3, 17, 305);
    state.best = Some(BestScore { score: 0.1 + 0.2, step: 2 });
    let mut tensors = NamedTensors::new();
    let weight = TensorData::new(vec![1.0_f32, -0.5, f32::MIN_POSITIVE, 3.25], [2, 2]);
    tensors.insert("model.head.weight".into(), weight);
    tensors.insert("loss.draws".into(), TensorData::new(vec![7_i64], [1]));
    (state, tensors)
}

#[test]
fn state_and_tensors_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let (state, tensors) = example();
    save(&path, &state, &tensors).unwrap();
    assert_eq!(load(&path).unwrap(), (state, tensors));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_damaged_byte_and_every_truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    let (state, tensors) = example();
    save(&path, &state, &tensors).unwrap();
    let bytes = fs::read(&path).unwrap();
    let whole = parse(&bytes).unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x01;
        // A changed blank of the header's padding is the one harmless change.
        if let Ok(same) = parse(&damaged) {
            assert_eq!(same, whole, "byte {position}");
            assert!(matches!(bytes[position], b' ' | b'!'), "byte {position}");
        }
        assert!(parse(&bytes[..position]).is_err(), "cut at {position}");
    }
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let message = load(&path).unwrap_err().to_string();
    assert!(message.contains("last.safetensors") && message.contains("damaged"), "{message}");
}

#[test]
fn a_weight_file_is_no_checkpoint() {
    let weight = TensorData::new(vec![1.0_f32], [1]);
    let view = TensorView::new(Dtype::F32, vec![1], weight.as_bytes()).unwrap();
    let bytes = safetensors::serialize([("weight", view)], None).unwrap();
    let message = parse(&bytes).unwrap_err();
    assert!(message.contains("weights alone"), "{message}");
}
