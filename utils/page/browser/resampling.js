// Resamples pixels like cv2.resize. Browsers scale pictures in ways of their own, which moves boxes.

import { clamp } from "./numbers.js";

/** For each output pixel of an axis, `most` input pixels and their weights. */
function makeTaps(to, most) {
  return { to, most, indices: new Int32Array(to * most), weights: new Float32Array(to * most) };
}

/** The average of the pixels that are covered (INTER_AREA). */
export function areaTaps(from, to) {
  const scale = from / to;
  const taps = makeTaps(to, Math.ceil(scale) + 2);
  for (let i = 0; i < to; i++) {
    const start = i * scale;
    const end = start + scale;
    const cell = Math.min(scale, from - start);
    let at = i * taps.most;
    for (let index = Math.floor(start); index < Math.min(end, from); index++) {
      const covered = Math.min(end, index + 1) - Math.max(start, index);
      if (covered <= 1e-3) continue; // as in OpenCV
      taps.indices[at] = index;
      taps.weights[at++] = covered / cell;
    }
  }
  return taps;
}

/** Bicubic interpolation with A = -0.75 and the border repeated (INTER_CUBIC). */
export function cubicTaps(from, to) {
  const A = -0.75;
  const taps = makeTaps(to, 4);
  for (let i = 0; i < to; i++) {
    const centre = ((i + 0.5) * from) / to - 0.5;
    const left = Math.floor(centre);
    const x = centre - left;
    const first = ((A * (x + 1) - 5 * A) * (x + 1) + 8 * A) * (x + 1) - 4 * A;
    const second = ((A + 2) * x - (A + 3)) * x * x + 1;
    const third = ((A + 2) * (1 - x) - (A + 3)) * (1 - x) * (1 - x) + 1;
    [first, second, third, 1 - first - second - third].forEach((weight, tap) => {
      taps.indices[i * 4 + tap] = clamp(left - 1 + tap, 0, from - 1);
      taps.weights[i * 4 + tap] = weight;
    });
  }
  return taps;
}

/** Linear interpolation with the cells of INTER_AREA, which OpenCV uses if one side grows. */
export function linearTaps(from, to) {
  const taps = makeTaps(to, 2);
  for (let i = 0; i < to; i++) {
    const left = Math.floor((i * from) / to);
    const beyond = i + 1 - ((left + 1) * to) / from;
    const x = left >= from - 1 || beyond <= 0 ? 0 : beyond - Math.floor(beyond);
    taps.indices.set([Math.min(left, from - 1), Math.min(left + 1, from - 1)], i * 2);
    taps.weights.set([1 - x, x], i * 2);
  }
  return taps;
}

/**
 * Writes resampled rows to `output`, whose rows have `stride` values. `row(y)` are RGBA bytes of the
 * picture, and `round` makes bytes of the results.
 */
export function resample(row, [across, down], round, output, stride) {
  const values = across.to * 3;
  const rows = new Map(); // input rows that were resampled across, by index
  const sum = new Float32Array(values);
  for (let y = 0; y < down.to; y++) {
    sum.fill(0);
    const used = new Set();
    for (let tap = y * down.most; tap < (y + 1) * down.most; tap++) {
      const weight = down.weights[tap];
      if (weight === 0) continue;
      const index = down.indices[tap];
      used.add(index);
      if (!rows.has(index)) rows.set(index, rowAcross(row(index), across));
      const scaled = rows.get(index);
      for (let i = 0; i < values; i++) sum[i] += weight * scaled[i];
    }
    for (const index of rows.keys()) if (!used.has(index)) rows.delete(index);
    for (let i = 0; i < values; i++) output[y * stride + i] = clamp(round(sum[i]), 0, 255);
  }
}

function rowAcross(pixels, { to, most, indices, weights }) {
  const scaled = new Float32Array(to * 3);
  for (let x = 0; x < to; x++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let tap = x * most; tap < (x + 1) * most; tap++) {
      const at = indices[tap] * 4;
      const weight = weights[tap];
      red += weight * pixels[at];
      green += weight * pixels[at + 1];
      blue += weight * pixels[at + 2];
    }
    scaled[x * 3] = red;
    scaled[x * 3 + 1] = green;
    scaled[x * 3 + 2] = blue;
  }
  return scaled;
}
