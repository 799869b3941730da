// The view that compares the curves of runs.

import { Chart } from "./chart.js";
import { byId, counted, make, showError } from "./dom.js";
import { askJson, offerToken } from "./service.js";

const CHOSEN_AT_FIRST = 4;
const COLOURS = 8; // --line-0 and so on in page.css; further runs are dashed
const DASHES = ["none", "7 4", "2 3"];

const percent = (value) => `${(100 * value).toFixed(1)}%`;
const wholePercent = (value) => `${Number((100 * value).toPrecision(3))}%`;
const number = (value) => String(Number(value.toPrecision(3)));
const COLUMNS = [
  ["map50", "mAP50, validation", percent, wholePercent],
  ["map", "mAP, validation", percent, wholePercent],
  ["loss", "Loss, training", number, number],
  ["val_loss", "Loss, validation", number, number],
];

const charts = new Map(COLUMNS.map(([column, ...others]) => [column, new Chart(...others)]));
let runs = [];
const slots = new Map(); // the number of the colour of each chosen run, by its name

async function load() {
  let answer;
  byId("status").textContent = "Reading the runs …";
  try {
    answer = await askJson("../runs");
  } catch (error) {
    byId("status").textContent = "";
    if (!offerToken(error, load)) showError(error.message, { Retry: load });
    return;
  }
  const isFirst = !runs.length;
  runs = answer.runs;
  byId("errors").replaceChildren();
  answer.faults.forEach((fault) => showError(fault));
  if (isFirst) runs.slice(0, CHOSEN_AT_FIRST).forEach(({ name }) => choose(name));
  for (const name of slots.keys()) if (!runs.some((run) => run.name === name)) slots.delete(name);
  showRuns(answer.total);
  draw();
}

function showRuns(total) {
  const more = total > runs.length ? ` The newest of ${total}.` : "";
  byId("status").textContent = runs.length
    ? `${counted(runs.length, "run")} in logs/.${more}`
    : "No run in logs/ yet: train one with train.py, then read again.";
  byId("runs").hidden = !runs.length;
  byId("runs").tBodies[0].replaceChildren(...runs.map(rowOf));
}

function rowOf(run) {
  const values = (column) => (run.columns[column] ?? []).filter((value) => value !== null);
  const best = (column) => (values(column).length ? percent(Math.max(...values(column))) : "-");
  const box = make("input", { type: "checkbox", checked: slots.has(run.name) });
  const swatch = make("span", { className: "swatch" });
  const cells = [run.columns.epoch.length, best("map50"), best("map"), values("loss").length ? number(values("loss").at(-1)) : "-"];
  const row = make(
    "tr",
    {},
    make("th", { scope: "row" }, make("label", { className: "check" }, box, swatch, make("span", { textContent: run.name }))),
    ...cells.map((textContent) => make("td", { textContent })),
  );
  const paint = () => {
    swatch.style.background = slots.has(run.name) ? colourOf(slots.get(run.name)) : "transparent";
  };
  paint();
  box.onchange = () => {
    if (box.checked) choose(run.name);
    else slots.delete(run.name);
    paint();
    draw();
  };
  const point = (name) => charts.forEach((chart) => chart.highlight(name));
  row.onpointerenter = () => slots.has(run.name) && point(run.name);
  row.onpointerleave = () => point(null);
  return row;
}

/** Gives a run the first free colour. */
function choose(name) {
  const taken = new Set(slots.values());
  let slot = 0;
  while (taken.has(slot)) slot += 1;
  slots.set(name, slot);
}

const colourOf = (slot) => `var(--line-${slot % COLOURS})`;

function styleOf(slot) {
  return (element) => {
    element.style.setProperty("--colour", colourOf(slot));
    element.style.strokeDasharray = DASHES[Math.floor(slot / COLOURS) % DASHES.length];
  };
}

function draw() {
  byId("charts").hidden = !runs.length; // before the charts are measured
  const chosen = runs.filter(({ name }) => slots.has(name));
  for (const [column] of COLUMNS) {
    const lines = chosen.map(({ name, columns }) => ({
      name,
      style: styleOf(slots.get(name)),
      points: columns.epoch
        .map((epoch, index) => [epoch, columns[column]?.[index] ?? null])
        .filter(([, value]) => value !== null),
    }));
    charts.get(column).show(lines, column.endsWith("loss") && byId("log").checked);
  }
  byId("legend").replaceChildren(...chosen.map(({ name }) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(slots.get(name));
    return make("li", {}, swatch, name);
  }));
}

byId("charts").append(...[...charts.values()].map(({ element }) => element));
byId("charts").hidden = true;
byId("reload").onclick = load;
byId("log").onchange = draw;
byId("no-runs").onclick = () => {
  slots.clear();
  showRuns(runs.length);
  draw();
};
load();
