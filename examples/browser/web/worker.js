// Runs the detector away from the page, so that the page stays responsive while the CPU computes.

import init, { PageDetector } from "./browser.js";

// Larger images are scaled by the browser first: their pixels would not fit into memory.
const MAX_PIXELS_ACROSS = 4096;

let detector = null;

function say(kind, rest = {}, transfer = []) {
  self.postMessage({ kind, ...rest }, transfer);
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

// The browser's GPU, or null.
async function adapter() {
  const found = await self.navigator.gpu?.requestAdapter().catch(() => null);
  if (!found) return null;
  const { description, architecture, vendor, isFallbackAdapter } = found.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(" ") || "GPU";
  return { name, isSoftware: isFallbackAdapter ?? found.isFallbackAdapter ?? false };
}

async function load(choice, reason) {
  say("progress", { text: "Loading the program" });
  await init();
  say("progress", { text: "Loading the weights" });
  const [card, weights] = await Promise.all([
    fetched("model.json").then((response) => response.text()),
    fetched("model.safetensors").then((response) => response.arrayBuffer()),
  ]);
  const bytes = new Uint8Array(weights);
  const gpu = choice === "cpu" || !PageDetector.has_webgpu() ? null : await adapter();
  // A GPU in software is slower than the CPU; it is there for tests.
  const isWanted = gpu && (choice === "webgpu" || !gpu.isSoftware);
  let note = reason;
  if (isWanted) {
    try {
      say("progress", { text: "Preparing WebGPU" });
      detector = await PageDetector.load(card, bytes, "webgpu");
      return say("ready", { card, device: `WebGPU, ${gpu.name}`, isCpu: false, note });
    } catch (error) {
      note = `WebGPU failed (${error.message ?? error}); the CPU runs instead.`;
    }
  } else if (choice === "webgpu") {
    const missing = "This browser offers no WebGPU adapter";
    const cause = PageDetector.has_webgpu() ? missing : "This page was built without WebGPU";
    note = `${cause}; the CPU runs instead.`;
  }
  detector = await PageDetector.load(card, bytes, "cpu");
  say("ready", { card, device: "CPU, WebAssembly, one thread", isCpu: true, note });
}

// The pixels of a file, as the browser shows it: turned by its orientation tag, on white.
async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("this file is not an image that the browser can read");
  }
  const original = [bitmap.width, bitmap.height];
  const scale = Math.min(1, MAX_PIXELS_ACROSS / Math.max(...original));
  const [width, height] = original.map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { original, width, height, data, bitmap: canvas.transferToImageBitmap() };
}

async function find(id, blob) {
  const { original, width, height, data, bitmap } = await decode(blob);
  say("decoded", { id, original, width, height, bitmap }, [bitmap]);
  const start = performance.now();
  const found = JSON.parse(await detector.find(new Uint8Array(data.buffer), width, height));
  const ms = performance.now() - start;
  say("found", { id, ms, objects: found.objects, seen: found.seen });
}

// One request after the other.
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  const { kind, id, blob, choice, reason } = data;
  const work = kind === "load" ? () => load(choice, reason) : () => find(id, blob);
  last = last.then(work).catch((error) => say("error", { id, text: error.message ?? String(error) }));
};
