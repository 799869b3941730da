// Detects in a thread of its own, so that the page responds meanwhile.

import { fit, inverse, place } from "./letterbox.js";
import { roundHalfToEven } from "./numbers.js";
import { decode } from "./pixels.js";
import { openModel } from "./runtime.js";
import { suppress } from "./suppression.js";

const ROOT = new URL("../", import.meta.url).href;
const MEGABYTE = 1e6;

let about = null; // model.json
let model = null;

async function load({ runtime }) {
  about = await (await request("model.json")).json();
  model = await openModel(about, await download(about), runtime);
  const { metadata } = about;
  return {
    version: metadata.version,
    backbone: metadata.backbone,
    yolo: metadata.yolo,
    classes: metadata.classes,
    input_size: metadata.input_size,
    thresholds: { conf: metadata.thresholds.confidence, max_boxes: metadata.thresholds.max_boxes },
    nms_in_model: false,
    precision: metadata.precision,
    runtime: model.description,
    weights: metadata.weights,
  };
}

async function detect({ file, conf, mostBoxes }) {
  const { input_size: input, preprocessing, thresholds, classes } = about.metadata;
  const picture = await decode(file);
  const fitted = fit(picture.size, input, preprocessing.resize === "stretch");
  const canvas = place(picture.row, fitted, input, preprocessing.pad_value);
  picture.close();
  const { boxes, scores } = await model.run(canvas);
  const limits = { confidence: conf, iou: thresholds.iou, maxBoxes: mostBoxes };
  const detections = suppress(boxes, scores, input, limits)
    .map(({ box, score, label }) => ({ box: inverse(box, fitted), score, label }))
    .filter(({ box }) => box)
    .map(({ box, score, label }) => ({
      label: classes[label],
      score: rounded(score, 1e4), // as in predict.py's JSON
      box: box.map((corner) => rounded(corner, 100)),
    }));
  const [width, height] = picture.size;
  return { width, height, detections };
}

const rounded = (value, parts) => roundHalfToEven(value * parts) / parts;

async function request(name) {
  let response;
  try {
    response = await fetch(ROOT + name);
  } catch {
    throw new Error(`${name} cannot be loaded: the connection is lost. Retry when it is back.`);
  }
  if (!response.ok) throw new Error(`${name} cannot be loaded: the server answers with status ${response.status}.`);
  return response;
}

/** Downloads the model, and reports how far that is. */
async function download({ model: name, bytes: size, sha256 }) {
  const response = await request(name);
  const bytes = new Uint8Array(size);
  let at = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length <= size) bytes.set(value, at);
      at += value.length;
      const [done_, all] = [at, size].map((each) => (each / MEGABYTE).toFixed(1));
      postMessage({ progress: `Loading the model: ${done_} of ${all} MB …` });
    }
  } catch {
    throw new Error(`${name} cannot be loaded: the connection is lost. Retry when it is back.`);
  }
  if (at !== size) throw new Error(`${name} has ${at} bytes instead of ${size}: copy the folder again.`);
  // Browsers offer `subtle` only with https or on this machine.
  if (crypto.subtle && (await digestOf(bytes)) !== sha256) {
    throw new Error(`${name} is damaged or of another export: copy the folder again.`);
  }
  postMessage({ progress: "Starting the model …" });
  return bytes;
}

async function digestOf(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

self.onmessage = async ({ data: { number, kind, values } }) => {
  try {
    const result = await { load, detect }[kind](values);
    postMessage({ number, result });
  } catch (error) {
    postMessage({ number, error: error.message ?? String(error) }); // WebAssembly throws numbers, too
  }
};
