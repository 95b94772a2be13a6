//! Plain host data shared by every longtail crate.
