// Fits pictures into the input of a network, as utils/data/letterbox.py and OpenCV do.

import { clamp, roundHalfToEven } from "./numbers.js";
import { areaTaps, cubicTaps, linearTaps, resample } from "./resampling.js";

/** How a picture is fitted: `scale` and `pad`, both as [x, y], and its size [width, height]. */
export function fit([width, height], [inputHeight, inputWidth], stretch) {
  const scale = Math.min(inputHeight / height, inputWidth / width);
  const sizes = [width, height].map((side) => Math.max(1, roundHalfToEven(side * scale)));
  const [wide, high] = stretch ? [inputWidth, inputHeight] : sizes;
  return {
    size: [wide, high],
    scale: [wide / width, high / height],
    pad: [Math.floor((inputWidth - wide) / 2), Math.floor((inputHeight - high) / 2)],
    original: [width, height],
  };
}

/** Scales a picture, centres and pads it; `row(y)` are its RGBA bytes. Returns a Float32Array (H, W, 3). */
export function place(row, fitted, [inputHeight, inputWidth], padValue) {
  const canvas = new Float32Array(inputHeight * inputWidth * 3).fill(padValue);
  const start = (fitted.pad[1] * inputWidth + fitted.pad[0]) * 3;
  const { taps, round } = scaling(fitted.original, fitted.size);
  resample(row, taps, round, canvas.subarray(start), inputWidth * 3);
  return canvas;
}

/** What cv2.resize does: INTER_AREA if a side becomes smaller, else INTER_CUBIC. */
function scaling(from, to) {
  const shrinks = to.some((side, i) => side < from[i]);
  // With INTER_AREA, OpenCV averages only if no side grows, and else interpolates linearly.
  const grows = to.some((side, i) => side > from[i]);
  const makeTaps = shrinks ? (grows ? linearTaps : areaTaps) : cubicTaps;
  // It averages two by two pixels in integers, where halves are rounded up.
  const isHalf = to.every((side, i) => 2 * side === from[i]);
  return {
    taps: from.map((side, i) => makeTaps(side, to[i])),
    round: isHalf ? (value) => Math.floor(value + 0.5) : roundHalfToEven,
  };
}

/** Maps a box from pixels of the input to the picture, and clips it; null if nothing is left. */
export function inverse(box, { scale, pad, original }) {
  const mapped = [...box].map((value, i) =>
    Math.fround(clamp((value - pad[i % 2]) / scale[i % 2], 0, original[i % 2])),
  );
  return mapped[2] > mapped[0] && mapped[3] > mapped[1] ? mapped : null;
}
