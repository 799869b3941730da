// Non-maximum suppression, as utils/inference/suppression.py computes it: in float32.

const TINY = 1.1754943508222875e-38; // the smallest normal float32

/**
 * Drops boxes that overlap better ones of the same class.
 *
 * `boxes` is a Float32Array of (P, 4) corners as fractions of the input, `scores` one of (P, C), and
 * `input` the height and width of the input. Returns detections, best first: `box` in pixels of the
 * input, `score`, and `label`, an index.
 */
export function suppress(boxes, scores, input, { confidence, iou, maxBoxes }) {
  const [height, width] = input;
  const lowest = Math.fround(confidence);
  const most = Math.fround(iou);
  const count = boxes.length / 4;
  const classes = scores.length / count;
  const candidates = [];
  for (let index = 0; index < scores.length; index++) {
    if (scores[index] > lowest) candidates.push(index);
  }
  candidates.sort((one, other) => scores[other] - scores[one]); // stable, so ties keep their order
  const kept = [];
  for (const index of candidates) {
    if (kept.length >= maxBoxes) break;
    const at = 4 * Math.floor(index / classes);
    const box = Float32Array.of(
      boxes[at] * width,
      boxes[at + 1] * height,
      boxes[at + 2] * width,
      boxes[at + 3] * height,
    );
    const label = index % classes;
    const isFree = kept.every((each) => each.label !== label || overlap(each.box, box) <= most);
    if (isFree) kept.push({ box, score: scores[index], label });
  }
  return kept;
}

/** The IoU of two boxes, each step rounded to float32. */
function overlap(one, other) {
  const round = Math.fround;
  const side = (i) => Math.max(0, round(Math.min(one[i + 2], other[i + 2]) - Math.max(one[i], other[i])));
  const area = (box) => round(round(box[2] - box[0]) * round(box[3] - box[1]));
  const shared = round(side(0) * side(1));
  const union = round(round(area(one) + area(other)) - shared);
  return round(shared / Math.max(union, TINY));
}
