//! What the layer rules read of `cargo metadata`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A crate of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// First folder below the workspace root: `crates`, `examples`, ...
    pub(crate) top_folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

/// An entry of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) default_features: bool,
    pub(crate) features: Vec<String>,
}

/// The table a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Package {
    /// Everything that `default` turns on, directly or through other features.
    pub(crate) fn default_features(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut open = vec!["default".to_owned()];
        while let Some(feature) = open.pop() {
            for next in self.features.get(&feature).into_iter().flatten() {
                if !found.contains(next) {
                    found.push(next.clone());
                    open.push(next.clone());
                }
            }
        }
        found
    }
}

/// The crates in the answer of `cargo metadata --no-deps`.
pub(crate) fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let root = text(metadata, "workspace_root")?;
    list(metadata, "packages")?.iter().map(|package| read_package(package, root)).collect()
}

fn read_package(package: &Value, root: &str) -> Result<Package> {
    let manifest = Path::new(text(package, "manifest_path")?);
    let below = manifest
        .strip_prefix(root)
        .with_context(|| format!("{} lies outside the workspace {root}", manifest.display()))?;
    let top_folder = below
        .components()
        .next()
        .map_or_else(String::new, |first| first.as_os_str().to_string_lossy().into_owned());
    let features = serde_json::from_value(package["features"].clone())
        .with_context(|| format!("features in {}", manifest.display()))?;
    let dependencies = list(package, "dependencies")?.iter().map(read_dependency);
    Ok(Package {
        name: text(package, "name")?.to_owned(),
        top_folder,
        dependencies: dependencies.collect::<Result<_>>()?,
        features,
    })
}

fn read_dependency(dependency: &Value) -> Result<Dependency> {
    let features = list(dependency, "features")?.iter().filter_map(Value::as_str);
    Ok(Dependency {
        name: text(dependency, "name")?.to_owned(),
        kind: match dependency["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        },
        default_features: dependency["uses_default_features"].as_bool().unwrap_or(true),
        features: features.map(str::to_owned).collect(),
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("`cargo metadata` gave no text `{key}`"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("`cargo metadata` gave no list `{key}`"))
}
