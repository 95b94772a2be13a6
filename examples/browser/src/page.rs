//! The same for JavaScript.

use anyhow::{Context, bail};
use burn::tensor::Device;
use longtail_data::RgbImage;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Finder, ModelCard};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &str);
}

/// A detector for a page.
#[wasm_bindgen]
pub struct PageDetector {
    finder: Finder,
}

#[wasm_bindgen]
impl PageDetector {
    /// Makes the detector of a model card (JSON) and its weights on a device, `cpu` or `webgpu`.
    ///
    /// # Errors
    /// If one of them is wrong, or there is no such device.
    pub async fn load(
        card: String,
        weights: Vec<u8>,
        device: String,
    ) -> Result<PageDetector, JsError> {
        std::panic::set_hook(Box::new(|panic| console_error(&panic.to_string())));
        let loaded = load(&card, weights, &device).await;
        Ok(Self { finder: loaded.map_err(js_error)? })
    }

    /// Whether this build has the device `webgpu`; the browser may have none.
    pub fn has_webgpu() -> bool {
        cfg!(feature = "webgpu")
    }

    /// The objects of an image of `4 * width * height` bytes (RGBA, row by row), as JSON:
    /// `{"objects": [{"class", "label", "score", "bbox": [x1, y1, x2, y2]}], "seen": [height, width]}`.
    ///
    /// # Errors
    /// If there are more or fewer bytes, or the device fails.
    pub async fn find(
        &self,
        rgba: Vec<u8>,
        width: usize,
        height: usize,
    ) -> Result<String, JsError> {
        let found = self.found(&rgba, width, height).await;
        found.map_err(js_error)
    }

    async fn found(&self, rgba: &[u8], width: usize, height: usize) -> anyhow::Result<String> {
        let (pixels, _) = rgba.as_chunks::<4>();
        let rgb = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
        let image = RgbImage::new(width, height, rgb)
            .with_context(|| format!("{} bytes are no image of {width}x{height}", rgba.len()))?;
        Ok(serde_json::to_string(&self.finder.find(image).await?)?)
    }
}

async fn load(card: &str, weights: Vec<u8>, device: &str) -> anyhow::Result<Finder> {
    let card: ModelCard = serde_json::from_str(card).context("the model card")?;
    let device = match device {
        "cpu" => Device::flex(),
        #[cfg(feature = "webgpu")]
        "webgpu" => Device::wgpu_options().init_async().await?,
        other => bail!("no device {other:?} in this build"),
    };
    Finder::new(card, weights, &device)
}

fn js_error(error: anyhow::Error) -> JsError {
    JsError::new(&format!("{error:#}"))
}
