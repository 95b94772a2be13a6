// The page: files in, drawings and a list out. The detector itself runs in worker.js.

const at = (id) => document.getElementById(id);
const [canvas, status, threshold] = [at("canvas"), at("status"), at("threshold")];
const MAX_FILE_BYTES = 200e6;
// Small images are enlarged to about this many pixels across, for crisp lines and labels.
const DRAWN_ACROSS = 768;

let worker = null;
let isReady = false;
let isOnCpu = false;
let waiting = null; // the blob to look at when the detector is there
let current = 0; // number of the last request
let image = null; // { bitmap, original, width, height, objects }
let card = null;

function state(name, text) {
  document.body.dataset.state = name;
  status.textContent = text;
}

// `reason` says why this is not what the visitor chose.
function start(choice, reason = "") {
  worker?.terminate();
  [isReady, isOnCpu] = [false, choice === "cpu"];
  at("device").textContent = "–";
  at("time").textContent = "–";
  state("loading", "Loading");
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => answers[data.kind](data);
  worker.onerror = ({ message = "it could not be loaded" }) => {
    isReady = false;
    // A program that stops on a GPU may run without.
    if (!isOnCpu) return start("cpu", `WebGPU failed (${message}); the CPU runs instead.`);
    state("error", `The detector stopped: ${message}. Reload the page to try again.`);
  };
  worker.postMessage({ kind: "load", choice, reason });
}

const answers = {
  progress: ({ text }) => state("loading", text),
  ready({ card: text, device, isCpu, note }) {
    [isReady, isOnCpu] = [true, isCpu];
    card = JSON.parse(text);
    at("model").textContent = `${card.name}, ${card.classes.length} classes`;
    at("device").textContent = note ? `${device}. ${note}` : device;
    if (!at("examples").children.length) showExamples(card.examples);
    state("ready", "Ready");
    if (waiting) look(waiting);
  },
  decoded({ id, bitmap, original, width, height }) {
    if (id !== current) return;
    image = { bitmap, original, width, height, objects: [] };
    at("size").textContent = original.join(" × ");
    state("busy", "Looking");
    show();
  },
  found({ id, ms, objects, seen }) {
    if (id !== current) return;
    image.objects = objects;
    at("time").textContent = ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
    const [height, width] = seen;
    const [wide, high] = image.original;
    if (wide !== width || high !== height) {
      at("size").textContent = `${wide} × ${high}, scaled to ${width} × ${height}`;
    }
    show();
    state("done", "Done");
  },
  error({ id, text }) {
    if (id !== undefined && id !== current) return;
    if (id !== undefined) clear();
    state("error", `Sorry: ${text}.`);
  },
};

function look(blob) {
  waiting = blob;
  if (!isReady) return;
  current += 1;
  if (blob.size === 0) return answers.error({ id: current, text: "this file is empty" });
  if (blob.size > MAX_FILE_BYTES) {
    return answers.error({ id: current, text: `this file is larger than ${MAX_FILE_BYTES / 1e6} MB` });
  }
  state("busy", "Reading the image");
  worker.postMessage({ kind: "find", id: current, blob });
}

function clear() {
  image = null;
  at("size").textContent = "–";
  at("time").textContent = "–";
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  list([]);
}

// Steps of the golden angle around the circle, so that neighbours differ; dark enough for white text.
function color(label) {
  const hue = Math.round(((label * 0.618034 + 0.02) % 1) * 360);
  return `hsl(${hue} 85% ${hue > 40 && hue < 200 ? 30 : 42}%)`;
}

function show() {
  if (!image) return;
  const lowest = Number(threshold.value);
  at("threshold-value").textContent = lowest.toFixed(2);
  const objects = image.objects.filter((object) => object.score >= lowest);
  draw(objects);
  list(objects);
}

function draw(objects) {
  const { bitmap, original, width, height } = image;
  const scale = Math.max(1, DRAWN_ACROSS / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const unit = Math.max(canvas.width, canvas.height) / DRAWN_ACROSS;
  context.font = `600 ${Math.round(14 * unit)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const [across, down] = [canvas.width / width, canvas.height / height];
  for (const { bbox, class: name, score, label } of objects.toReversed()) {
    const [x1, y1, x2, y2] = [bbox[0] * across, bbox[1] * down, bbox[2] * across, bbox[3] * down];
    context.lineWidth = 3 * unit;
    context.strokeStyle = color(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const text = `${name} ${score.toFixed(2)}`;
    const [wide, high] = [context.measureText(text).width + 8 * unit, 20 * unit];
    const left = Math.max(0, Math.min(x1, canvas.width - wide));
    const top = y1 >= high ? y1 - high : y1;
    context.fillStyle = color(label);
    context.fillRect(left, top, wide, high);
    context.fillStyle = "white";
    context.fillText(text, left + 4 * unit, top + high / 2);
  }
  canvas.setAttribute("aria-label", `The image with ${objects.length} detections`);
}

// Boxes are in the pixels of the file, also where the browser made it smaller.
function list(objects) {
  at("count").textContent = objects.length;
  const items = objects.map(({ class: name, score, bbox, label }) => {
    const item = document.createElement("li");
    const [across, down] = [image.original[0] / image.width, image.original[1] / image.height];
    const box = [bbox[0] * across, bbox[1] * down, bbox[2] * across, bbox[3] * down];
    Object.assign(item.dataset, { name, score, box: JSON.stringify(box) });
    item.title = box.map((side) => Math.round(side)).join(", ");
    const parts = [["swatch", ""], ["name", name], ["score", score.toFixed(3)]];
    for (const [kind, text] of parts) {
      const part = document.createElement("span");
      [part.className, part.textContent] = [kind, text];
      item.append(part);
    }
    item.firstChild.style.background = color(label);
    return item;
  });
  at("objects").replaceChildren(...items);
}

function showExamples(names) {
  const buttons = names.map((name, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `Example ${index + 1}`;
    const picture = document.createElement("img");
    [picture.src, picture.alt] = [name, button.title];
    button.append(picture);
    button.onclick = () => lookAtExample(name);
    return button;
  });
  at("examples").replaceChildren(...buttons);
  if (!waiting && names.length) lookAtExample(names[0]);
}

async function lookAtExample(name) {
  try {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    look(await response.blob());
  } catch (error) {
    answers.error({ text: error.message });
  }
}

at("file").onchange = ({ target }) => {
  if (target.files[0]) look(target.files[0]);
  target.value = "";
};
const drop = at("drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.remove("over");
  });
}
document.addEventListener("drop", ({ dataTransfer }) => {
  if (dataTransfer.files[0]) look(dataTransfer.files[0]);
});
document.addEventListener("paste", ({ clipboardData }) => {
  const file = [...clipboardData.files][0];
  if (file) look(file);
});
threshold.oninput = show;
at("choice").onchange = ({ target }) => start(target.value);

const wanted = new URLSearchParams(location.search).get("device");
if (["cpu", "webgpu"].includes(wanted)) at("choice").value = wanted;
start(at("choice").value);
