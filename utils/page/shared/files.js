// The files to download. JSON and VOC XML have the form that predict.py gives them.

import { classColour, css, inkOn } from "./colours.js";
import { clamp, roundHalfToEven } from "./numbers.js";

/** The name of a file without its suffix. */
export const stemOf = (name) => name.replace(/\.[^.]*$/, "") || "picture";

/** predict.py's JSON of pictures, each with the detections that are shown. */
export function jsonOf(entries) {
  const list = entries.map(({ picture, detections }) => ({
    source: picture.name,
    width: picture.width,
    height: picture.height,
    detections: detections.map(({ label, score, box }) => ({ label, score, box })),
  }));
  return new Blob([`${JSON.stringify(list, null, 2)}\n`], { type: "application/json" });
}

/** A VOC annotation, as `VocFiles` of utils/inference/saving.py writes it. */
export function vocXmlOf(picture, detections) {
  const { width, height } = picture;
  const document_ = document.implementation.createDocument(null, "annotation");
  const add = (parent, tag, text) => {
    const node = parent.appendChild(document_.createElement(tag));
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const root = document_.documentElement;
  add(root, "folder", "images");
  add(root, "filename", plain(picture.name));
  const size = add(root, "size");
  add(size, "width", width);
  add(size, "height", height);
  add(size, "depth", 3);
  add(root, "segmented", 0);
  for (const { label, box } of detections) {
    const object = add(root, "object");
    add(object, "name", plain(label));
    add(object, "pose", "Unspecified");
    add(object, "truncated", 0);
    add(object, "difficult", 0);
    const corners = wholePixels(box, width, height);
    const bounds = add(object, "bndbox");
    ["xmin", "ymin", "xmax", "ymax"].forEach((tag, i) => add(bounds, tag, corners[i]));
  }
  const text = new XMLSerializer().serializeToString(indented(root, document_));
  return new Blob([`<?xml version="1.0" encoding="utf-8"?>\n${text}\n`], { type: "application/xml" });
}

/** Draws the detections into the picture at its full size, as a JPEG file. */
export async function jpegOf(picture, detections) {
  const { width, height } = picture;
  const image = new Image();
  image.src = picture.url;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const scale = (width + height) / 2;
  const line = Math.ceil(0.003 * scale);
  const font = Math.round(6 + 0.018 * scale);
  context.font = `${font}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const worstFirst = [...detections].reverse();
  for (const { box: [left, top, right, bottom], colour } of worstFirst) {
    context.lineWidth = line;
    context.strokeStyle = css(classColour(colour));
    context.strokeRect(left, top, right - left, bottom - top);
  }
  for (const { box: [left, top], colour, label, score } of worstFirst) {
    const text = `${label} ${score.toFixed(2)}`;
    const high = 1.3 * font;
    const wide = context.measureText(text).width + 0.5 * font;
    const x = Math.max(0, Math.min(left - line / 2, width - wide));
    const y = top >= high ? top - high : top;
    context.fillStyle = css(classColour(colour));
    context.fillRect(x, y, wide, high);
    context.fillStyle = inkOn(classColour(colour));
    context.fillText(text, x + 0.25 * font, y + high / 2);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  if (!blob) throw new Error("the picture is too large for this browser to draw");
  return blob;
}

/** Rounds a box to integers within 1 and the size of the picture, at least a pixel wide and high. */
function wholePixels(box, width, height) {
  const rounded = box.map(roundHalfToEven);
  const limits = [width, height];
  const lower = [0, 1].map((i) => clamp(rounded[i], Math.min(1, limits[i] - 1), limits[i] - 1));
  const upper = [0, 1].map((i) => clamp(rounded[i + 2], lower[i] + 1, limits[i]));
  return [...lower, ...upper];
}

/** Replaces the control characters that XML cannot have, in names of files for example. */
const plain = (text) => text.replace(/[\u0000-\u001f\u007f\ufffe\uffff]/g, "?");

function indented(node, document_, depth = 0) {
  const children = [...node.children];
  for (const child of children) {
    node.insertBefore(document_.createTextNode(`\n${"  ".repeat(depth + 1)}`), child);
    indented(child, document_, depth + 1);
  }
  if (children.length) node.append(`\n${"  ".repeat(depth)}`);
  return node;
}
