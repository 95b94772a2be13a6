//! Sampler frequencies against the formulas, and seekability.
#![allow(clippy::unwrap_used, reason = "tests")]

use longtail_data::{ImageDataset, Sampler, SamplerConfig};
use longtail_types::ClassMap;

/// Class 2 has no image.
const COUNTS: [usize; 5] = [600, 250, 0, 120, 30];
const TOTAL: usize = 1000;

fn dataset() -> ImageDataset {
    let classes = ClassMap::from_names(["a", "b", "c", "d", "e"]).unwrap();
    let labels = COUNTS.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n));
    let files = labels.enumerate().map(|(i, label)| (format!("{i}").into(), label));
    ImageDataset::from_files(files, classes).unwrap()
}

fn sampler(config: SamplerConfig) -> Sampler {
    Sampler::new(config, &dataset(), 11).unwrap()
}

/// Share of each class over many epochs.
fn shares(sampler: &Sampler, epochs: std::ops::Range<u64>) -> [f64; 5] {
    let dataset = dataset();
    let mut shares = [0.0; 5];
    let n = (epochs.end - epochs.start) as f64 * TOTAL as f64;
    for epoch in epochs {
        let order = sampler.order(epoch);
        assert_eq!(order.len(), TOTAL);
        order.iter().for_each(|&index| shares[dataset.labels()[index]] += 1.0 / n);
    }
    shares
}

fn assert_close(actual: [f64; 5], expected: [f64; 5], tolerance: f64, name: &str) {
    let worst = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "{name}: {actual:?} instead of {expected:?}");
}

fn normalized(weight: impl Fn(f64) -> f64) -> [f64; 5] {
    let weights = COUNTS.map(|n| if n == 0 { 0.0 } else { weight(n as f64) });
    let sum: f64 = weights.iter().sum();
    weights.map(|w| w / sum)
}

#[test]
fn class_shares_are_the_stated_ones() {
    let effective = |beta: f64| move |n: f64| n * (1.0 - beta) / (1.0 - beta.powf(n));
    let balanced = normalized(|_| 1.0);
    for (config, expected) in [
        (SamplerConfig::ClassBalanced, balanced),
        (SamplerConfig::SquareRoot, normalized(f64::sqrt)),
        (SamplerConfig::Power { exponent: 0.0 }, balanced),
        (SamplerConfig::Power { exponent: 0.7 }, normalized(|n| n.powf(0.7))),
        (SamplerConfig::Power { exponent: 1.0 }, normalized(|n| n)),
        (SamplerConfig::EffectiveNumber { beta: 0.0 }, normalized(|n| n)),
        (SamplerConfig::EffectiveNumber { beta: 0.99 }, normalized(effective(0.99))),
        (SamplerConfig::EffectiveNumber { beta: 1.0 }, balanced),
        (SamplerConfig::ClassAware { images_per_class: 4 }, balanced),
        (SamplerConfig::ClassBalancedCopies, balanced),
        (SamplerConfig::InstanceBalanced, normalized(|n| n)),
    ] {
        let sampler = sampler(config);
        let stated: [f64; 5] = sampler.class_probabilities(0).try_into().unwrap();
        assert_close(stated, expected, 1e-12, &format!("stated by {config:?}"));
        assert_close(shares(&sampler, 0..60), expected, 0.01, &format!("{config:?}"));
    }
}

/// `p_j = (1 - t) n_j / N + t / C` with t = 0, 1/4, ..., 1.
#[test]
fn progressive_goes_from_instance_to_class_balanced() {
    let config = SamplerConfig::Progressive { epochs: 5 };
    let sampler = sampler(config);
    for (epoch, t) in [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (9, 1.0)] {
        let expected = COUNTS.map(|n| match n {
            0 => 0.0,
            n => (1.0 - t) * n as f64 / TOTAL as f64 + t / 4.0,
        });
        let stated: [f64; 5] = sampler.class_probabilities(epoch).try_into().unwrap();
        assert_close(stated, expected, 1e-12, "stated");
        assert_close(shares(&sampler, epoch..epoch + 1), expected, 0.05, "one epoch");
    }
    let single = self::sampler(SamplerConfig::Progressive { epochs: 1 });
    assert_eq!(single.class_probabilities(0)[0], 0.6);
}

#[test]
fn unweighted_samplers_give_every_image_once() {
    let sequential = sampler(SamplerConfig::Sequential);
    assert_eq!(sequential.order(3), (0..TOTAL).collect::<Vec<_>>());
    let shuffled = sampler(SamplerConfig::InstanceBalanced);
    let mut order = shuffled.order(3);
    assert_ne!(order, (0..TOTAL).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..TOTAL).collect::<Vec<_>>());
}

/// No image a second time before all of its class came.
#[test]
fn class_cycles_are_without_replacement() {
    let dataset = dataset();
    for config in [SamplerConfig::ClassBalanced, SamplerConfig::ClassAware { images_per_class: 4 }]
    {
        let mut uses = vec![0_usize; TOTAL];
        for index in sampler(config).order(2) {
            uses[index] += 1;
            let class = dataset.labels()[index];
            let of_class = || (0..TOTAL).filter(|&i| dataset.labels()[i] == class);
            let (min, max) = (of_class().map(|i| uses[i]).min(), of_class().map(|i| uses[i]).max());
            assert!(max.unwrap() <= min.unwrap() + 1, "{config:?}");
        }
    }
}

#[test]
fn class_aware_visits_every_class_in_turn() {
    let dataset = dataset();
    let order = sampler(SamplerConfig::ClassAware { images_per_class: 3 }).order(0);
    for round in order.chunks_exact(12) {
        let mut classes = Vec::new();
        for visit in round.chunks_exact(3) {
            let labels: Vec<usize> = visit.iter().map(|&i| dataset.labels()[i]).collect();
            assert!(labels.iter().all(|&label| label == labels[0]), "{labels:?}");
            classes.push(labels[0]);
        }
        classes.sort_unstable();
        assert_eq!(classes, [0, 1, 3, 4]);
    }
}

/// `floor(r)` copies and one more with probability `r - floor(r)`; here r is 250 / n_j.
#[test]
fn copies_of_an_image_differ_by_one_at_most() {
    let dataset = dataset();
    let sampler = sampler(SamplerConfig::ClassBalancedCopies);
    for epoch in 0..20 {
        let mut uses = vec![0_usize; TOTAL];
        sampler.order(epoch).iter().for_each(|&index| uses[index] += 1);
        // A second draw fills the epoch where the first was short: at most doubles the bound.
        for (index, &uses) in uses.iter().enumerate() {
            let ratio = 250.0 / COUNTS[dataset.labels()[index]] as f64;
            assert!(uses <= 2 * (ratio.floor() as usize + 1), "{uses} copies at ratio {ratio}");
        }
    }
}

#[test]
fn orders_depend_on_seed_and_epoch_alone() {
    for config in [
        SamplerConfig::InstanceBalanced,
        SamplerConfig::ClassBalanced,
        SamplerConfig::ClassAware { images_per_class: 4 },
        SamplerConfig::ClassBalancedCopies,
    ] {
        let first = sampler(config);
        let late = first.order(7);
        assert_eq!(late, first.order(7));
        assert_eq!(late, sampler(config).order(7));
        assert_ne!(late, first.order(8), "{config:?}");
        let other = Sampler::new(config, &dataset(), 12).unwrap();
        assert_ne!(late, other.order(7), "{config:?}");
    }
}

#[test]
fn recipes_are_read() {
    for (json, expected) in [
        (r#"{ "kind": "instance-balanced" }"#, SamplerConfig::InstanceBalanced),
        (r#"{ "kind": "class-aware" }"#, SamplerConfig::ClassAware { images_per_class: 4 }),
        (r#"{ "kind": "progressive", "epochs": 9 }"#, SamplerConfig::Progressive { epochs: 9 }),
        (
            r#"{ "kind": "effective-number", "beta": 0.99 }"#,
            SamplerConfig::EffectiveNumber { beta: 0.99 },
        ),
    ] {
        assert_eq!(serde_json::from_str::<SamplerConfig>(json).unwrap(), expected);
        let text = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<SamplerConfig>(&text).unwrap(), expected);
    }
    for json in [
        r#"{ "kind": "balanced" }"#,
        r#"{ "kind": "progressive" }"#,
        r#"{ "kind": "progressive", "epochs": 9, "epoch": 1 }"#,
        r#"{ "kind": "class-balanced", "beta": 1.0 }"#,
    ] {
        assert!(serde_json::from_str::<SamplerConfig>(json).is_err(), "{json}");
    }
    let error = Sampler::new(SamplerConfig::Progressive { epochs: 0 }, &dataset(), 0).unwrap_err();
    assert_eq!(error.to_string(), "sampler.epochs must be at least 1, got 0");
}
