// The detector of the page: a worker in this browser.

import { showError } from "./dom.js";
import { goOffline, onNewVersion } from "./offline.js";

let worker = null;
let number = 0;
let report = () => {};
const calls = new Map(); // promises of answers of the worker, by number

/** Loads the model and returns its card; calls `onProgress` with what is being done. */
export async function loadCard(onProgress) {
  report = onProgress;
  report("Loading …");
  const offline = await goOffline();
  onNewVersion(() => showError("There is a newer version of this page.", { "Load it": () => location.reload() }));
  const runtime = new URLSearchParams(location.search).get("runtime");
  return { ...(await call("load", { runtime })), offline };
}

/** Returns the width and height of a picture, and its detections as predict.py's JSON has them. */
export const detect = (file, conf, mostBoxes) => call("detect", { file, conf, mostBoxes });

/** Nothing is asked of people, unlike by a service. */
export const recover = () => false;

function call(kind, values) {
  worker ??= start();
  return new Promise((resolve, reject) => {
    calls.set(++number, { resolve, reject });
    worker.postMessage({ number, kind, values });
  });
}

function start() {
  const started = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  started.onmessage = ({ data }) => {
    if (data.progress) {
      report(data.progress);
      return;
    }
    const { resolve, reject } = calls.get(data.number);
    calls.delete(data.number);
    if (data.error) reject(new Error(data.error));
    else resolve(data.result);
  };
  started.onerror = (event) => {
    // Its files cannot be loaded; the next call starts another one.
    worker = null;
    started.terminate();
    calls.forEach(({ reject }) => reject(new Error(event.message || "The detector cannot be loaded.")));
    calls.clear();
  };
  return started;
}
