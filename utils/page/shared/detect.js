// The view that detects the objects of pictures, and filters them without detecting them again.

import { connectCamera } from "./camera.js";
import { byId, counted, download, make, showError } from "./dom.js";
import { DetectionTable } from "./detection_table.js";
import { detect, loadCard, recover } from "./detector.js"; // of the service, or in the browser
import { jpegOf, jsonOf, stemOf, vocXmlOf } from "./files.js";
import { Stage } from "./stage.js";

const LOWEST = 0.05; // minimum confidence that is asked for; lower ones give hundreds of boxes
const MOST_BOXES = 300; // maximum number of detections that is asked for

let model = null;
let lowest = LOWEST;
let mostBoxes = MOST_BOXES;
const pictures = []; // those with results
const waiting = []; // files
let current = null;
let busy = false;
const off = new Set(); // classes that are not shown

const stage = new Stage(byId("stage"), point);
const table = new DetectionTable(byId("detections"), point);

function point(index) {
  stage.highlight(index);
  table.highlight(index);
}

async function loadModel() {
  try {
    model = await loadCard((text) => (byId("status").textContent = text));
  } catch (error) {
    byId("status").textContent = "";
    if (!recover(error, loadModel)) showError(error.message, { Retry: loadModel });
    return;
  }
  byId("status").textContent = "";
  const { conf, max_boxes } = model.thresholds;
  lowest = model.nms_in_model ? conf : Math.min(LOWEST, conf);
  mostBoxes = model.nms_in_model ? max_boxes : Math.min(MOST_BOXES, model.limits?.max_boxes ?? MOST_BOXES);
  Object.assign(byId("conf"), { min: lowest, max: 1 });
  byId("conf").value = conf;
  const why = model.nms_in_model ? "the model has it built in" : "each picture is computed once, with this limit";
  byId("conf-note").textContent = `At least ${lowest}: ${why}.`;
  showCard();
  next();
}

function showCard() {
  const [height, width] = model.input_size;
  const facts = {
    Network: `${model.backbone}, YOLO${model.yolo}`,
    Input: `${width} x ${height} pixels`,
    Classes: model.classes.length,
    Precision: model.precision,
    Runtime: model.runtime,
    Weights: model.weights.slice(0, 12),
    ...limitsOf(model),
    Version: model.version,
  };
  const entries = Object.entries(facts).flatMap(([name, value]) => [
    make("dt", { textContent: name }),
    make("dd", { textContent: value }),
  ]);
  byId("model").replaceChildren(...entries);
  byId("model-classes").hidden = false;
  byId("model-classes").querySelector("p").textContent = model.classes.join(", ");
}

/** Facts that only one kind of detector has: the limits of a service, or where the files are. */
function limitsOf({ limits, offline }) {
  if (offline) return { Offline: offline };
  const { megabytes, megapixels } = limits;
  return { Limits: `${+megabytes.toFixed(1)} MiB and ${+megapixels.toFixed(1)} megapixels per picture` };
}

function add(files) {
  waiting.push(...files);
  next();
}

/** Takes the files one after another, so that a hundred of them do not fill the queue of a service. */
async function next() {
  if (busy || !model || !waiting.length) return;
  busy = true;
  const file = waiting.shift();
  try {
    const rest = waiting.length ? `, ${waiting.length} more wait` : "";
    byId("status").textContent = `Detecting in ${file.name}${rest} …`;
    const picture = await pictureOf(file);
    pictures.push(picture);
    show(picture);
  } catch (error) {
    byId("status").textContent = "";
    if (current) tell();
    if (recover(error, next)) {
      waiting.unshift(file); // the others would be refused, too
      return;
    }
    showError(`${file.name}: ${error.message}`, { Retry: () => add([file]) });
  } finally {
    busy = false;
  }
  next();
}

async function pictureOf(file) {
  const { width, height, detections } = await detect(file, lowest, mostBoxes);
  const found = detections.map((each) => ({ ...each, colour: model.classes.indexOf(each.label) }));
  return { name: file.name, url: URL.createObjectURL(file), width, height, detections: found };
}

function shownOf(picture) {
  const conf = byId("conf").valueAsNumber;
  return picture.detections.filter(({ label, score }) => score >= conf && !off.has(label));
}

function show(picture) {
  current = picture;
  byId("result").hidden = !picture;
  showStrip();
  if (!picture) {
    byId("status").textContent = "";
    return;
  }
  showClasses();
  refresh();
}

function showStrip() {
  const entries = pictures.map((picture) => {
    const button = make("button", { type: "button", title: picture.name }, make("img", { src: picture.url, alt: picture.name }));
    if (picture === current) button.setAttribute("aria-current", "true");
    button.onclick = () => {
      show(picture);
      byId("strip").querySelector("[aria-current]").focus();
    };
    return make("li", {}, button);
  });
  byId("strip").replaceChildren(...entries);
  byId("strip").hidden = pictures.length < 2;
}

function showClasses() {
  const names = [...new Set(current.detections.map(({ label }) => label))].sort();
  byId("classes").replaceChildren(
    ...names.map((name) => {
      const box = make("input", { type: "checkbox", checked: !off.has(name), value: name });
      box.onchange = () => {
        (box.checked ? off.delete : off.add).call(off, name);
        refresh();
      };
      return make("label", {}, box, make("span", { textContent: name }), make("span", { className: "count" }));
    }),
  );
  if (!names.length) byId("classes").textContent = "No object in this picture.";
}

function setAllClasses(checked) {
  for (const box of byId("classes").querySelectorAll("input")) {
    box.checked = checked;
    (checked ? off.delete : off.add).call(off, box.value);
  }
  if (current) refresh();
}

/** Shows the detections of the picture that pass the filters. */
function refresh() {
  const conf = byId("conf").valueAsNumber;
  byId("conf-text").value = conf.toFixed(2);
  if (!current) return;
  const shown = shownOf(current);
  stage.show(current, shown);
  table.show(shown);
  byId("detections").hidden = !shown.length;
  byId("nothing").hidden = shown.length > 0;
  for (const label of byId("classes").querySelectorAll("label")) {
    const name = label.querySelector("input").value;
    const count = current.detections.filter((each) => each.label === name && each.score >= conf).length;
    label.querySelector(".count").textContent = count;
  }
  tell();
}

function tell() {
  const shown = shownOf(current);
  const limit = current.detections.length >= mostBoxes ? ` Only the ${mostBoxes} best are found.` : "";
  byId("status").textContent = `${current.name}: ${counted(shown.length, "object")} shown.${limit}`;
}

function remove() {
  const index = pictures.indexOf(current);
  pictures.splice(index, 1);
  URL.revokeObjectURL(current.url);
  show(pictures[Math.min(index, pictures.length - 1)] ?? null);
  (current ? byId("remove") : byId("files")).focus();
}

function connectInputs() {
  for (const id of ["files", "capture"]) {
    byId(id).onchange = (event) => {
      add([...event.target.files]);
      event.target.value = ""; // so that the same file can be chosen again
    };
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text for a field, for example
    event.preventDefault();
    add(files);
  });
  const over = (flag) => byId("drop").classList.toggle("over", flag);
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser opens the file instead of the page
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const files = [...event.dataTransfer.files];
    if (files.length) add(files);
    else showError("This is not a file. Save the picture first, then drop its file.");
  });
  connectCamera((file) => add([file]));
}

function connectDownloads() {
  byId("save-json").onclick = () => {
    const entries = pictures.map((picture) => ({ picture, detections: shownOf(picture) }));
    download(jsonOf(entries), pictures.length > 1 ? "detections.json" : `${stemOf(current.name)}.json`);
  };
  byId("save-xml").onclick = () =>
    download(vocXmlOf(current, shownOf(current)), `${stemOf(current.name)}.xml`);
  byId("save-picture").onclick = async () => {
    const picture = current;
    try {
      download(await jpegOf(picture, shownOf(picture)), `${stemOf(picture.name)}-detections.jpg`);
    } catch (error) {
      showError(`The picture of ${picture.name} cannot be made: ${error.message}.`);
    }
  };
  byId("remove").onclick = remove;
}

byId("conf").oninput = refresh;
byId("all-classes").onclick = () => setAllClasses(true);
byId("no-classes").onclick = () => setAllClasses(false);
connectInputs();
connectDownloads();
loadModel();
