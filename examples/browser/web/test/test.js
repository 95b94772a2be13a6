// Uses the page as a visitor does, and reports what it shows.

const frame = document.getElementById("page");
const device = new URLSearchParams(location.search).get("device") ?? "cpu";
const PATIENCE_MS = 300_000;

const page = () => frame.contentDocument;
const text = (id) => page().getElementById(id).textContent;

async function settled(states) {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const state = page()?.body?.dataset.state;
    if (states.includes(state)) return state;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the page waits for ever: ${text("status")}`);
}

async function give(file) {
  const files = new frame.contentWindow.DataTransfer();
  files.items.add(file);
  const input = page().getElementById("file");
  input.files = files.files;
  input.dispatchEvent(new Event("change"));
  return settled(["done", "error"]);
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

const newFile = (content, name) => new frame.contentWindow.File([content], name);

async function drawn(width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  for (let step = 0; step < 40; step += 1) {
    context.fillStyle = `hsl(${step * 47} 60% 50%)`;
    context.fillRect((step * 997) % width, (step * 613) % height, width / 8, height / 6);
  }
  return canvas.convertToBlob({ type: "image/png" });
}

function shown(name) {
  const items = [...page().querySelectorAll("#objects li")];
  const objects = items.map(({ dataset }) => ({
    class: dataset.name,
    score: Number(dataset.score),
    box: JSON.parse(dataset.box),
  }));
  return { name, size: text("size"), time: text("time"), objects };
}

async function run() {
  frame.src = `../index.html?device=${device}`;
  await new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
  const report = { refused: [], images: [] };
  report.first = await settled(["done", "error"]); // the first example, by itself
  report.status = text("status");
  report.device = text("device");
  if (report.first === "error") return report;
  const threshold = page().getElementById("threshold");
  threshold.value = threshold.min;
  threshold.dispatchEvent(new Event("input"));

  for (const [name, content] of [["empty.png", ""], ["text.png", "no image at all"]]) {
    const state = await give(newFile(content, name));
    report.refused.push({ name, state, status: text("status") });
  }
  for (const name of await fetched("images.json").then((response) => response.json())) {
    const blob = await fetched(name).then((response) => response.blob());
    if ((await give(newFile(blob, name))) === "error") throw new Error(`${name}: ${text("status")}`);
    report.images.push(shown(name));
  }
  await give(newFile(await drawn(5000, 3000), "huge.png"));
  report.huge = shown("huge.png");
  report.huge.status = text("status");
  return report;
}

let report;
try {
  report = await run();
} catch (error) {
  report = { error: error.message ?? String(error) };
}
document.getElementById("report").textContent = JSON.stringify(report, null, 2);
await fetch("/report", { method: "POST", body: JSON.stringify(report) });
