// Shows a picture with its boxes, as SVG above it.

import { makeSvg, make } from "./dom.js";
import { classColour, css, inkOn } from "./colours.js";

const FONT = 13; // pixels of the screen
const PAD = 3;

export class Stage {
  /** Calls `onPoint(index)` when the pointer enters a box, and with null when it leaves. */
  constructor(figure, onPoint) {
    this._figure = figure;
    this._onPoint = onPoint;
    this._shown = [];
    new ResizeObserver(() => this._layOut()).observe(figure);
  }

  /**
   * Shows a picture; `detections` have `label`, `score`, `box` in pixels of it, and `colour`,
   * an index.
   */
  show(picture, detections) {
    if (this._picture !== picture) {
      this._picture = picture;
      this._image = make("img", { src: picture.url, alt: picture.name });
      this._image.onerror = () => {
        this._image.replaceWith(
          make("p", { className: "blank", textContent: "This browser cannot show this kind of picture. Its boxes are:" }),
        );
      };
      this._svg = makeSvg("svg", {
        viewBox: `0 0 ${picture.width} ${picture.height}`,
        "aria-hidden": "true", // the table says the same in words
      });
      this._frame = make("div", { className: "frame" }, this._image, this._svg);
      this._frame.style.aspectRatio = `${picture.width} / ${picture.height}`;
      this._frame.style.setProperty("--ratio", picture.width / picture.height);
      this._figure.replaceChildren(this._frame);
    }
    this._shown = detections;
    this._groups = detections.map((each, index) => this._draw(each, index));
    // The best come last, so that they are above the others; all labels are above all boxes.
    const worstFirst = [...this._groups].reverse();
    this._svg.replaceChildren(
      ...worstFirst.map((each) => each.box),
      ...worstFirst.map((each) => each.tag),
    );
    this._layOut();
  }

  /** Emphasizes a detection and dims the others; null ends that. */
  highlight(index) {
    this._svg?.classList.toggle("pointed", index !== null);
    this._groups?.forEach(({ box, tag }, each) => {
      box.classList.toggle("on", each === index);
      tag.classList.toggle("on", each === index);
    });
  }

  _draw(found, index) {
    const [left, top, right, bottom] = found.box;
    const colour = classColour(found.colour);
    const box = makeSvg("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top });
    box.style.stroke = css(colour);
    box.addEventListener("pointerenter", () => this._onPoint(index));
    box.addEventListener("pointerleave", () => this._onPoint(null));
    const text = makeSvg("text", { y: FONT + PAD - 2, x: PAD + 1, "font-size": FONT });
    text.textContent = `${found.label} ${found.score.toFixed(2)}`;
    text.style.fill = inkOn(colour);
    const back = makeSvg("rect", { height: FONT + 2 * PAD });
    back.style.fill = css(colour);
    return { box, text, back, tag: makeSvg("g", { class: "tag" }, back, text) };
  }

  /** Gives the labels their size on the screen, whatever the size of the picture. */
  _layOut() {
    if (!this._frame || !this._frame.clientWidth) return;
    const { width, height } = this._picture;
    const scale = width / this._frame.clientWidth; // pixels of the picture per pixel of the screen
    this._shown.forEach(({ box: [left, top] }, index) => {
      const { text, back, tag } = this._groups[index];
      const tagWidth = text.getComputedTextLength() + 2 * PAD + 2;
      const tagHeight = FONT + 2 * PAD;
      back.setAttribute("width", tagWidth);
      const above = top - tagHeight * scale;
      const x = Math.max(0, Math.min(left, width - tagWidth * scale));
      const y = Math.min(above >= 0 ? above : top, height - tagHeight * scale);
      tag.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
    });
  }
}
