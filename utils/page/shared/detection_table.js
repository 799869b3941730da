// The table of detections, whose rows are one stop of the Tab key; arrow keys move between them.

import { make } from "./dom.js";
import { classColour, css } from "./colours.js";

const STEPS = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };

export class DetectionTable {
  /** Calls `onPoint(index)` when a row has the pointer or the focus, and with null after it. */
  constructor(table, onPoint) {
    this._body = table.tBodies[0];
    this._onPoint = onPoint;
    this._body.addEventListener("keydown", (event) => this._move(event));
  }

  show(detections) {
    this._body.replaceChildren(...detections.map((each, index) => this._row(each, index)));
  }

  highlight(index) {
    [...this._body.rows].forEach((row, each) => row.classList.toggle("on", each === index));
  }

  _row({ label, score, box, colour }, index) {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = css(classColour(colour));
    const corners = box.map((corner) => Math.round(corner)).join(", ");
    const row = make(
      "tr",
      { tabIndex: index ? -1 : 0 },
      make("th", { scope: "row" }, swatch, label),
      make("td", { textContent: score.toFixed(2) }),
      make("td", { textContent: corners }),
    );
    row.addEventListener("pointerenter", () => this._onPoint(index));
    row.addEventListener("pointerleave", () => this._onPoint(null));
    row.addEventListener("focus", () => this._onPoint(index));
    row.addEventListener("blur", () => this._onPoint(null));
    return row;
  }

  _move(event) {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const rows = [...this._body.rows];
    const from = rows.indexOf(event.target.closest("tr"));
    const to = Math.max(0, Math.min(from + step, rows.length - 1));
    rows.forEach((row, each) => (row.tabIndex = each === to ? 0 : -1));
    rows[to].focus();
  }
}
