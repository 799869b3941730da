// The detector of the page: asks the service.

import { askJson, offerToken, ServiceError } from "./service.js";

const MEBIBYTE = 2 ** 20;

let limits = null;

/** Returns the model's card, as GET /model gives it. */
export async function loadCard() {
  const card = await askJson("model");
  limits = card.limits;
  return card;
}

/** Returns the width and height of a picture, and its detections as predict.py's JSON has them. */
export async function detect(file, conf, mostBoxes) {
  if (file.size > limits.megabytes * MEBIBYTE) {
    throw new ServiceError(
      `It has ${(file.size / MEBIBYTE).toFixed(1)} MiB, more than the ${limits.megabytes} MiB that the service takes.`,
    );
  }
  const body = new FormData();
  body.append("images", file, file.name);
  const [found] = await askJson(`predict?conf=${conf}&max_boxes=${mostBoxes}`, { method: "POST", body });
  return found;
}

/** Returns whether people are asked for what is missing; then `retry` is called. */
export const recover = offerToken;
