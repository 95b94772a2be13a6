//! A trained detector in a browser: pixels in, boxes out, on WebGPU or on the CPU by WebAssembly.
//!
//! `cargo xtask web` builds the page; see the chapter "In the browser" of the guide. The network,
//! its preprocessing and what follows it are the code that runs everywhere else. What the browser
//! needs is here:
//!
//! - [`ModelCard`]: what belongs to a file of weights, as JSON;
//! - [`Finder`]: both together, ready for images, without files and without blocking;
//! - `page`, on WebAssembly alone: the same for JavaScript.
//!
//! The program `bundle` writes card, weights and example images of a finished run.

mod finder;
mod model_card;
#[cfg(target_family = "wasm")]
mod page;

pub use finder::{Finder, Found, FoundObject};
pub use model_card::ModelCard;
