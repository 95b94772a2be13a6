//! The three lists of a file, entry by entry.

use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::annotation::AnnotationEntry;
use super::category::CategoryEntry;
use super::image::ImageEntry;
use super::value::{Checked, Expect, Key, Welcome};
use crate::detection::ProblemKind;
use crate::detection::raw::RawSet;

/// What one of the lists holds.
pub(super) trait Entry {
    /// Name of the list.
    const LIST: &'static str;
    /// What an entry that cannot be read is.
    const PROBLEM: ProblemKind;

    /// Reads one entry.
    fn read<'de, A: MapAccess<'de>>(
        raw: &mut RawSet,
        place: usize,
        fields: A,
    ) -> Result<(), A::Error>;
}

/// One entry, of any JSON type.
struct OneEntry<'a, E> {
    raw: &'a mut RawSet,
    place: usize,
    entry: PhantomData<E>,
}

impl<E: Entry> Welcome for OneEntry<'_, E> {
    type Value = ();

    fn object<'de, A: MapAccess<'de>>(self, fields: A) -> Result<Checked<()>, A::Error> {
        E::read(self.raw, self.place, fields).map(Ok)
    }
}

/// A whole list.
struct Entries<'a, E> {
    raw: &'a mut RawSet,
    entry: PhantomData<E>,
}

impl<E: Entry> Welcome for Entries<'_, E> {
    type Value = ();

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<()>, A::Error> {
        for place in 0.. {
            let one = OneEntry::<E> { raw: &mut *self.raw, place, entry: PhantomData };
            match items.next_element_seed(Expect(one))? {
                None => break,
                Some(Ok(())) => {}
                Some(Err(found)) => {
                    let message = format!("must be an object, got {found}");
                    self.raw.push_entry_problem(E::PROBLEM, E::LIST, place, None, message);
                }
            }
        }
        Ok(Ok(()))
    }
}

/// A whole file; its value is what makes it no file of annotations, if anything does.
pub(super) struct AnnotationFile<'a>(pub(super) &'a mut RawSet);

#[derive(Clone, Copy)]
enum List {
    Images,
    Annotations,
    Categories,
}

impl Welcome for AnnotationFile<'_> {
    type Value = Option<String>;

    fn object<'de, A: MapAccess<'de>>(
        self,
        mut fields: A,
    ) -> Result<Checked<Option<String>>, A::Error> {
        const LISTS: &[(&str, List)] = &[
            (ImageEntry::LIST, List::Images),
            (AnnotationEntry::LIST, List::Annotations),
            (CategoryEntry::LIST, List::Categories),
        ];
        let raw = self.0;
        let mut twice = None;
        let mut results = [const { None }; LISTS.len()];
        while let Some(list) = fields.next_key_seed(Key(LISTS))? {
            let Some(list) = list else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            if results[list as usize].is_some() {
                twice = Some(format!("{} stands twice", LISTS[list as usize].0));
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            results[list as usize] = Some(match list {
                List::Images => fields.next_value_seed(entries::<ImageEntry>(raw))?,
                List::Annotations => fields.next_value_seed(entries::<AnnotationEntry>(raw))?,
                List::Categories => fields.next_value_seed(entries::<CategoryEntry>(raw))?,
            });
        }
        let wrong = LISTS.iter().zip(&results).find_map(|((name, _), result)| match result {
            Some(Ok(())) => None,
            Some(Err(found)) => Some(format!("{name} must be a list, got {found}")),
            None => Some(format!("{name} is missing")),
        });
        Ok(Ok(twice.or(wrong)))
    }
}

fn entries<E: Entry>(raw: &mut RawSet) -> Expect<Entries<'_, E>> {
    Expect(Entries { raw, entry: PhantomData })
}
