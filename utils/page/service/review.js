// The view of a dataset: ground truth beside predictions, those with the largest mistakes first.

import { byId, counted, make, makeSvg, showError } from "./dom.js";
import { ask, askJson, offerToken } from "./service.js";

const PER_PAGE = 24;
const POLL = 1000; // milliseconds between looks at the progress
const AT_ONCE = 4; // small pictures that are loaded at the same time
const WORDS = { missed: "missed", false: "false", confused: "confused", placed: "badly placed" };

let offset = 0;
let shown = 0; // images on the page
let turn = 0; // numbers the requests, so that a late answer does not replace a later one
let urls = [];

async function look() {
  let state;
  try {
    state = await askJson("../review");
  } catch (error) {
    byId("status").textContent = "";
    if (offerToken(error, look)) return;
    if (error.status === 404) byId("status").textContent = error.message;
    else showError(error.message, { Retry: look });
    return;
  }
  const isFirst = byId("review").hidden;
  byId("review").hidden = false;
  showState(state);
  const isRunning = ["waiting", "reading", "predicting"].includes(state.state);
  // A page that is full keeps its order while people look at it.
  if (isFirst || !isRunning || shown < PER_PAGE) await load();
  if (isRunning) setTimeout(look, POLL);
}

function showState(state) {
  const counts = Object.entries(state.mistakes).map(([kind, count]) => `${count} ${WORDS[kind]}`);
  const progress = {
    waiting: "Starting …",
    reading: `Reading the annotations of ${state.data} …`,
    predicting: `${state.done} of ${state.total} images so far: ${counts.join(", ")}.`,
    done: `${counted(state.total, "image")} of ${state.data}: ${counts.join(", ")}.`,
    failed: "",
  }[state.state];
  if (byId("status").textContent !== progress) byId("status").textContent = progress;
  if (state.error) showError(state.error);
  byId("progress").hidden = state.state === "done" || state.state === "failed";
  if (state.total) Object.assign(byId("progress"), { max: state.total, value: state.done });
  byId("note").textContent =
    `Detections have a confidence of at least ${state.conf} and match objects at an IoU of ${state.iou}.`;
  if (byId("label").options.length === 1) {
    byId("label").append(...state.classes.map((name) => make("option", { value: name, textContent: name })));
  }
  byId("faults").hidden = !state.faults.length;
  byId("faults").querySelector("ul").replaceChildren(...state.faults.map((line) => make("li", { textContent: line })));
}

async function load() {
  const mine = ++turn;
  const query = new URLSearchParams({
    kind: byId("kind").value,
    label: byId("label").value,
    offset,
    limit: PER_PAGE,
  });
  let answer;
  try {
    answer = await askJson(`../review/images?${query}`);
  } catch (error) {
    if (!offerToken(error, load)) showError(error.message, { Retry: load });
    return;
  }
  if (mine !== turn) return;
  const { total, images } = answer;
  shown = images.length;
  byId("found").textContent = total ? `${counted(total, "image")} found.` : "No image with such a mistake.";
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  const cards = images.map(cardOf);
  byId("images").replaceChildren(...cards.map(({ card }) => card));
  const pages = Math.max(1, Math.ceil(total / PER_PAGE));
  byId("pages").hidden = pages < 2;
  byId("page-number").textContent = `Page ${offset / PER_PAGE + 1} of ${pages}`;
  byId("previous").disabled = !offset;
  byId("next").disabled = offset + PER_PAGE >= total;
  const queue = [...cards];
  await Promise.all(Array.from({ length: AT_ONCE }, () => loadPictures(queue, mine)));
}

/** Loads the pictures of cards one after another, with the token in the header. */
async function loadPictures(queue, mine) {
  for (let card = queue.shift(); card && mine === turn; card = queue.shift()) {
    try {
      const response = await ask(`../review/images/${card.index}`);
      const url = URL.createObjectURL(await response.blob());
      urls.push(url);
      card.pictures.forEach((image) => (image.src = url));
    } catch (error) {
      card.pictures.forEach((image) => (image.alt = error.message));
    }
  }
}

function cardOf(entry) {
  const { source, width, height, objects, detections, mistakes } = entry;
  const missed = new Set(mistakes.filter(({ kind }) => kind === "missed").map(({ object }) => object));
  const wrong = new Map(mistakes.filter(({ detection }) => detection !== null).map((each) => [each.detection, each.kind]));
  const truth = frameOf(entry, "Ground truth", objects.map(({ box }, i) => ({ box, kind: missed.has(i) ? "missed" : "truth" })));
  const found = frameOf(entry, "Predictions", detections.map(({ box }, i) => ({ box, kind: wrong.get(i) ?? "right" })));
  const lines = mistakes.map((mistake) => make("li", { textContent: describe(mistake, entry) }));
  const text = make("ul", { className: "mistakes" }, ...(lines.length ? lines : [make("li", { textContent: "no mistake" })]));
  const card = make(
    "li",
    { className: "card" },
    make("h2", { textContent: source, title: `${width} x ${height} pixels` }),
    make("div", { className: "pair" }, truth.figure, found.figure),
    text,
  );
  return { card, index: entry.index, pictures: [truth.image, found.image] };
}

function frameOf({ width, height, source }, title, boxes) {
  const image = make("img", { alt: `${title} of ${source}` });
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const { box: [left, top, right, bottom], kind } of boxes) {
    svg.append(makeSvg("rect", { class: `mark ${kind}`, x: left, y: top, width: right - left, height: bottom - top }));
  }
  const frame = make("div", { className: "frame" }, image, svg);
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.setProperty("--ratio", width / height);
  return { image, figure: make("figure", {}, frame, make("figcaption", { className: "faint", textContent: title })) };
}

function describe({ kind, size, object, detection }, { objects, detections }) {
  const found = detections[detection];
  const truth = objects[object];
  switch (kind) {
    case "missed":
      return `missed ${truth.label}, ${Math.round(100 * size * size)}% of the image`;
    case "confused":
      return `confused: ${found.label} ${found.score.toFixed(2)} is ${truth.label}`;
    case "placed":
      return `badly placed ${found.label} ${found.score.toFixed(2)}, IoU ${(1 - size).toFixed(2)}`;
    default:
      return `false ${found.label} ${found.score.toFixed(2)}`;
  }
}

function turnPage(step) {
  offset = Math.max(0, offset + step * PER_PAGE);
  load();
  byId("found").scrollIntoView();
}

function restart() {
  offset = 0;
  load();
}

byId("kind").onchange = restart;
byId("label").onchange = restart;
byId("reload").onclick = restart;
byId("previous").onclick = () => turnPage(-1);
byId("next").onclick = () => turnPage(1);
look();
