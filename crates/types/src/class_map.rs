//! Names of classes and their ids in the data set.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{CountsError, FrequencyGroup};

/// One class of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Class {
    name: String,
    id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frequency: Option<FrequencyGroup>,
}

/// The classes of a data set in dense order `0..num_classes`, with names, the data set's own ids
/// and, where the file gives one, LVIS's frequency flag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassMap {
    classes: Vec<Class>,
}

impl ClassMap {
    /// Classes whose ids are their dense indices, as in class folders.
    ///
    /// # Errors
    /// If a name stands twice.
    pub fn from_names<S: Into<String>>(
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, CountsError> {
        let names = names.into_iter().enumerate();
        Self::from_ids(names.map(|(index, name)| (index as u64, name.into(), None)))
    }

    /// Classes with the data set's own ids, in dense order.
    ///
    /// # Errors
    /// If a name stands twice.
    pub fn from_ids(
        classes: impl IntoIterator<Item = (u64, String, Option<FrequencyGroup>)>,
    ) -> Result<Self, CountsError> {
        let mut seen = HashMap::new();
        let mut map = Self::default();
        for (second, (id, name, frequency)) in classes.into_iter().enumerate() {
            if let Some(first) = seen.insert(name.clone(), second) {
                return Err(CountsError::DuplicateName { name, first, second });
            }
            map.classes.push(Class { name, id, frequency });
        }
        Ok(map)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Names in dense order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.classes.iter().map(|class| class.name.as_str())
    }

    /// Name of a class, `None` outside `0..len`.
    pub fn name(&self, label: usize) -> Option<&str> {
        self.classes.get(label).map(|class| class.name.as_str())
    }

    /// The data set's id of a class, `None` outside `0..len`.
    pub fn id(&self, label: usize) -> Option<u64> {
        self.classes.get(label).map(|class| class.id)
    }

    /// The file's own frequency flag, where it has one.
    pub fn frequency(&self, label: usize) -> Option<FrequencyGroup> {
        self.classes.get(label)?.frequency
    }

    /// Dense label of a name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class.name == name)
    }

    /// Dense label of a data set's id.
    pub fn label_of(&self, id: u64) -> Option<usize> {
        self.classes.iter().position(|class| class.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_dense_and_turn_back() {
        let classes = [(7, "cat".into(), Some(FrequencyGroup::Rare)), (3, "dog".into(), None)];
        let map = ClassMap::from_ids(classes).unwrap();
        assert_eq!((map.label_of(7), map.label_of(3), map.label_of(0)), (Some(0), Some(1), None));
        assert_eq!((map.id(1), map.id(2)), (Some(3), None));
        assert_eq!((map.name(0), map.index_of("dog")), (Some("cat"), Some(1)));
        assert_eq!(map.frequency(0), Some(FrequencyGroup::Rare));
    }

    #[test]
    fn a_name_stands_once() {
        let error = ClassMap::from_names(["cat", "dog", "cat"]).unwrap_err();
        assert_eq!(error.to_string(), "class name \"cat\" stands twice, at 0 and 2");
    }
}
