// A line chart as SVG. The pointer or the arrow keys move a cursor, which shows values by epoch.

import { make, makeSvg } from "./dom.js";

const EDGE = { left: 48, right: 12, top: 10, bottom: 30 };
const TICKS = 5;
const LARGEST_DOTTED = 40; // points of a line up to which each has a dot

export class Chart {
  /** `title` is its heading; `unit` formats a value, `tick` one of an axis. */
  constructor(title, unit, tick) {
    this._unit = unit;
    this._tick = tick;
    this._title = title;
    this._svg = makeSvg("svg", { role: "img", tabindex: 0 });
    this._arguments = [[], false];
    new ResizeObserver(() => this.show(...this._arguments)).observe(this._svg);
    this._read = make("p", { className: "faint readout" });
    this._read.setAttribute("role", "status");
    this.element = make("section", { className: "card chart" }, make("h2", { textContent: title }), this._svg, this._read);
    this.element.setAttribute("aria-label", title);
    this._svg.addEventListener("pointermove", (event) => this._moveTo(this._epochAt(event)));
    this._svg.addEventListener("pointerleave", () => this._moveTo(null));
    this._svg.addEventListener("blur", () => this._moveTo(null));
    this._svg.addEventListener("keydown", (event) => this._press(event));
  }

  /** Draws lines: each has `name`, `style` and `points`, pairs of epoch and value. */
  show(lines, logarithmic = false) {
    this._arguments = [lines, logarithmic];
    this._width = Math.max(200, this._svg.clientWidth);
    this._height = Math.max(150, this._svg.clientHeight);
    this._svg.setAttribute("viewBox", `0 0 ${this._width} ${this._height}`);
    this._marker = null;
    this._lines = lines.filter(({ points }) => points.length);
    this._cursor = null;
    this._read.textContent = "";
    const values = this._lines.flatMap(({ points }) => points.map(([, value]) => value));
    this._svg.replaceChildren();
    const names = this._lines.map(({ name }) => name).join(", ");
    this._svg.setAttribute("aria-label", `${this._title} by epoch: ${names || "no values"}`);
    if (!values.length) {
      const text = makeSvg("text", { x: this._width / 2, y: this._height / 2, "text-anchor": "middle" });
      text.textContent = "No values";
      this._svg.append(text);
      return;
    }
    const log = logarithmic && Math.min(...values) > 0;
    this._toX = scaleOf(1, Math.max(2, ...this._epochs()), EDGE.left, this._width - EDGE.right);
    const [low, high, ticks] = log ? logTicks(values) : niceTicks(values);
    const raw = scaleOf(log ? Math.log10(low) : low, log ? Math.log10(high) : high, this._height - EDGE.bottom, EDGE.top);
    this._toY = (value) => raw(log ? Math.log10(value) : value);
    this._drawAxes(ticks);
    for (const { points, style, name } of this._lines) {
      const path = points.map(([x, y]) => `${this._toX(x).toFixed(1)},${this._toY(y).toFixed(1)}`).join(" ");
      const line = makeSvg("polyline", { points: path, class: "line", "data-run": name });
      style(line);
      this._svg.append(line);
      if (points.length <= LARGEST_DOTTED) {
        for (const [x, y] of points) {
          const dot = makeSvg("circle", { cx: this._toX(x), cy: this._toY(y), r: 2.5, class: "dot" });
          style(dot);
          this._svg.append(dot);
        }
      }
    }
    this._marker = makeSvg("line", { class: "marker", y1: EDGE.top, y2: this._height - EDGE.bottom, visibility: "hidden" });
    this._svg.append(this._marker);
  }

  /** Dims all lines but that of a run; null ends that. */
  highlight(name) {
    for (const line of this._svg.querySelectorAll(".line")) {
      line.classList.toggle("dim", name !== null && line.dataset.run !== name);
    }
  }

  _drawAxes(ticks) {
    for (const value of ticks) {
      const y = this._toY(value);
      const label = makeSvg("text", { x: EDGE.left - 6, y: y + 4, "text-anchor": "end" });
      label.textContent = this._tick(value);
      this._svg.append(makeSvg("line", { class: "grid", x1: EDGE.left, x2: this._width - EDGE.right, y1: y, y2: y }), label);
    }
    const last = Math.max(2, ...this._epochs());
    const step = Math.max(1, niceStep(last / 6));
    for (let epoch = step; epoch <= last; epoch += step) {
      const label = makeSvg("text", { x: this._toX(epoch), y: this._height - 10, "text-anchor": "middle" });
      label.textContent = epoch;
      this._svg.append(label);
    }
  }

  _epochs() {
    return [...new Set(this._lines.flatMap(({ points }) => points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
  }

  _epochAt(event) {
    if (!this._marker) return null;
    const { left, width } = this._svg.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * this._width;
    const distance = (epoch) => Math.abs(this._toX(epoch) - x);
    return this._epochs().reduce((best, epoch) => (distance(epoch) < distance(best) ? epoch : best));
  }

  _press(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !this._marker) return;
    event.preventDefault();
    const epochs = this._epochs();
    const at = epochs.indexOf(this._cursor);
    const next = at < 0 ? (step > 0 ? 0 : epochs.length - 1) : at + step;
    this._moveTo(epochs[Math.max(0, Math.min(next, epochs.length - 1))]);
  }

  _moveTo(epoch) {
    if (!this._marker) return;
    this._cursor = epoch;
    this._marker.setAttribute("visibility", epoch === null ? "hidden" : "visible");
    if (epoch === null) {
      this._read.textContent = "";
      return;
    }
    const x = this._toX(epoch);
    this._marker.setAttribute("x1", x);
    this._marker.setAttribute("x2", x);
    const values = this._lines.flatMap(({ name, points }) =>
      points.filter(([each]) => each === epoch).map(([, value]) => `${name} ${this._unit(value)}`),
    );
    this._read.textContent = `Epoch ${epoch}: ${values.join("; ")}`;
  }
}

function scaleOf(low, high, start, end) {
  return (value) => start + ((value - low) / (high - low || 1)) * (end - start);
}

/** The step of 1, 2 or 5 times a power of ten next above a value. */
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((each) => each * power >= value * 0.999) ?? 10);
}

/** Limits and ticks from 0 or below to the largest value. */
function niceTicks(values) {
  const low = Math.min(0, ...values);
  const step = niceStep((Math.max(...values) - low || 1) / TICKS);
  const high = Math.ceil((Math.max(...values) || step) / step - 1e-9) * step;
  const ticks = [];
  for (let tick = Math.floor(low / step) * step; tick <= high + step / 2; tick += step) ticks.push(tick);
  return [ticks[0], ticks.at(-1), ticks];
}

/** Limits and ticks of 1, 2 and 5 times powers of ten around the values. */
function logTicks(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
  }
  const first = all.findLastIndex((each) => each <= low);
  const last = all.findIndex((each) => each >= high);
  const ticks = all.slice(first, Math.max(last, first + 1) + 1);
  return [ticks[0], ticks.at(-1), ticks];
}
