//! `cargo xtask layers`: an arrow points to a lower rank only, and libraries choose no backend.

mod graph;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::process;
use graph::{Kind, Package, packages};

/// Rank of every library. A crate may use crates of a lower rank, never of its own.
const RANKS: [(&str, u8); 14] = [
    ("longtail-types", 0),
    ("longtail-kernels", 0),
    (TESTING, 1),
    ("longtail-losses", 1),
    ("longtail-ops", 1),
    ("longtail-data", 2),
    ("longtail-models", 2),
    ("longtail-eval", 2),
    ("longtail-training", 3),
    ("longtail", FACADE),
    ("longtail-conformance", FACADE),
    ("longtail-bench", 5),
    ("longtail-serve", 5),
    ("longtail-cli", 6),
];
/// From the facade on, a crate may turn a backend on by default.
const FACADE: u8 = 4;
/// Examples, what is fuzzed and this program stand on top of everything.
const TOP: u8 = 7;
/// For tests alone: any crate may have it as dev-dependency, none as an ordinary one.
const TESTING: &str = "longtail-testing";
/// Plain host code: no tensors.
const HOST_ONLY: [&str; 2] = ["longtail-types", "longtail-eval"];
/// Features of `burn` that compile a backend.
const BACKENDS: [&str; 12] = [
    "flex", "ndarray", "cpu", "wgpu", "vulkan", "metal", "webgpu", "cuda", "rocm", "tch", "candle",
    "remote",
];

/// Checks this workspace.
pub(crate) fn run() -> Result<()> {
    let args = ["metadata", "--format-version", "1", "--no-deps"];
    let output = process::cargo(&args).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`cargo metadata` ended with {}", output.status);
    }
    let packages = packages(&serde_json::from_slice(&output.stdout)?)?;
    let violations = violations(&packages);
    if !violations.is_empty() {
        bail!("{} violations of the layers:\n  {}", violations.len(), violations.join("\n  "));
    }
    println!("layers: {} crates point to lower ranks only", packages.len());
    Ok(())
}

/// One sentence per broken rule.
fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let Some(rank) = rank(package) else {
            found.push(format!(
                "{} has no rank; give it one in xtask/src/layers.rs (a program belongs in examples/)",
                package.name
            ));
            continue;
        };
        check_arrows(package, rank, packages, &mut found);
        if package.name != TESTING && rank < FACADE {
            check_backends(package, &mut found);
        }
    }
    found
}

fn rank(package: &Package) -> Option<u8> {
    let listed = RANKS.iter().find(|(name, _)| *name == package.name).map(|(_, rank)| *rank);
    let is_top = ["examples", "fuzz", "xtask"].contains(&package.top_folder.as_str());
    listed.or(is_top.then_some(TOP))
}

fn check_arrows(package: &Package, rank_here: u8, packages: &[Package], found: &mut Vec<String>) {
    let name = &package.name;
    for dependency in &package.dependencies {
        if dependency.name == "burn" && HOST_ONLY.contains(&name.as_str()) {
            found.push(format!("{name} is plain host code and may not depend on burn"));
        }
        let Some(target) = packages.iter().find(|other| other.name == dependency.name) else {
            continue; // from crates.io
        };
        if target.name == TESTING {
            if dependency.kind != Kind::Dev {
                found.push(format!("{name} uses {TESTING} outside its tests"));
            }
            continue;
        }
        if let Some(rank_there) = rank(target)
            && rank_there >= rank_here
        {
            let other = &target.name;
            found.push(format!(
                "{name} (rank {rank_here}) may not depend on {other} (rank {rank_there})"
            ));
        }
    }
}

fn check_backends(package: &Package, found: &mut Vec<String>) {
    let name = &package.name;
    let features = package.default_features();
    let by_default: BTreeSet<&str> = features.iter().filter_map(|f| backend_of(f)).collect();
    for backend in by_default {
        found.push(format!("{name} turns the backend `{backend}` on by default"));
    }
    for dependency in package.dependencies.iter().filter(|d| d.kind != Kind::Dev) {
        let is_ours = dependency.name.starts_with("longtail");
        if dependency.name != "burn" && !is_ours {
            continue;
        }
        if dependency.name == "burn" && dependency.default_features {
            found.push(format!("{name} takes burn with its default features"));
        }
        for backend in dependency.features.iter().filter_map(|feature| backend_of(feature)) {
            let other = &dependency.name;
            found.push(format!("{name} turns the backend `{backend}` of {other} on"));
        }
    }
}

/// The backend behind a feature: `flex`, `burn/flex`, `longtail-kernels?/flex`.
fn backend_of(feature: &str) -> Option<&str> {
    let last = feature.rsplit('/').next()?;
    BACKENDS.contains(&last).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn dependency(name: &str) -> Value {
        json!({ "name": name, "kind": null, "uses_default_features": true, "features": [] })
    }

    fn package(path: &str, name: &str, dependencies: &[Value], features: Value) -> Value {
        let manifest = format!("/w/{path}/Cargo.toml");
        json!({ "name": name, "manifest_path": manifest, "dependencies": dependencies, "features": features })
    }

    fn check(packages: &[Value]) -> Vec<String> {
        let metadata = json!({ "workspace_root": "/w", "packages": packages });
        violations(&super::packages(&metadata).unwrap())
    }

    fn library(name: &str, dependencies: &[Value]) -> Value {
        package(&format!("crates/{name}"), &format!("longtail-{name}"), dependencies, json!({}))
    }

    #[test]
    fn lower_ranks_and_foreign_crates_are_fine() {
        let packages = [
            library("types", &[dependency("serde")]),
            library("kernels", &[]),
            library("losses", &[dependency("longtail-types"), dependency("longtail-kernels")]),
            package("examples/classify", "classify", &[dependency("longtail-losses")], json!({})),
        ];
        assert_eq!(check(&packages), [""; 0]);
    }

    #[test]
    fn same_and_higher_ranks_are_refused() {
        let packages = [
            library("types", &[dependency("longtail-losses")]),
            library("kernels", &[dependency("longtail-types")]),
            library("losses", &[]),
        ];
        let expected = [
            "longtail-types (rank 0) may not depend on longtail-losses (rank 1)",
            "longtail-kernels (rank 0) may not depend on longtail-types (rank 0)",
        ];
        assert_eq!(check(&packages), expected);
    }

    #[test]
    fn an_example_may_not_use_another() {
        let packages = [
            package("examples/a", "a", &[], json!({})),
            package("examples/b", "b", &[dependency("a")], json!({})),
        ];
        assert_eq!(check(&packages), ["b (rank 7) may not depend on a (rank 7)"]);
    }

    #[test]
    fn dev_dependencies_obey_ranks_too() {
        let mut upward = dependency("longtail-training");
        upward["kind"] = json!("dev");
        let packages = [library("data", &[upward]), library("training", &[])];
        let expected = ["longtail-data (rank 2) may not depend on longtail-training (rank 3)"];
        assert_eq!(check(&packages), expected);
    }

    #[test]
    fn testing_is_for_tests() {
        let mut in_tests = dependency("longtail-testing");
        in_tests["kind"] = json!("dev");
        let packages = [
            library("testing", &[]),
            library("kernels", &[in_tests]),
            library("types", &[dependency("longtail-testing")]),
        ];
        assert_eq!(check(&packages), ["longtail-types uses longtail-testing outside its tests"]);
    }

    #[test]
    fn a_crate_without_rank_is_refused() {
        let found = check(&[library("extras", &[])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("longtail-extras has no rank"), "{}", found[0]);
    }

    #[test]
    fn a_default_backend_is_found_through_other_features() {
        let features = json!({ "default": ["fast"], "fast": ["flex"], "flex": ["burn/flex"] });
        let kernels = package("crates/kernels", "longtail-kernels", &[], features);
        let expected = ["longtail-kernels turns the backend `flex` on by default"];
        assert_eq!(check(&[kernels]), expected);
    }

    #[test]
    fn pass_through_features_are_fine() {
        let features = json!({ "flex": ["burn/flex"], "cuda": ["burn/cuda"] });
        let kernels = package("crates/kernels", "longtail-kernels", &[], features);
        assert_eq!(check(&[kernels]), [""; 0]);
    }

    #[test]
    fn a_backend_on_a_dependency_is_found() {
        let mut burn = dependency("burn");
        burn["features"] = json!(["std", "wgpu"]);
        let expected = [
            "longtail-data takes burn with its default features",
            "longtail-data turns the backend `wgpu` of burn on",
        ];
        assert_eq!(check(&[library("data", &[burn])]), expected);
    }

    #[test]
    fn the_facade_and_the_command_may_choose() {
        let features = json!({ "default": ["flex"], "flex": ["longtail-kernels/flex"] });
        let packages = [
            package("crates/longtail", "longtail", &[dependency("longtail-kernels")], features),
            library("kernels", &[]),
        ];
        assert_eq!(check(&packages), [""; 0]);
    }

    #[test]
    fn host_crates_have_no_tensors() {
        let mut burn = dependency("burn");
        burn["uses_default_features"] = json!(false);
        let expected = ["longtail-types is plain host code and may not depend on burn"];
        assert_eq!(check(&[library("types", &[burn])]), expected);
    }
}
