// Decodes a picture to rows of pixels, the same that OpenCV decodes.

const ROWS = 256; // that are read at once: browsers limit the size of a canvas, some silently

/**
 * Decodes a file. Returns its `size` [width, height]; `row(y)`, its RGBA bytes, which are fast to get
 * from top to bottom; and `close()`, which frees it.
 */
export async function decode(file) {
  let bitmap;
  try {
    // OpenCV applies the orientation but no colour profile. It drops transparency, too; here,
    // pixels that are entirely transparent become black.
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("This browser cannot read it: it is damaged, not a picture, or of an unknown format.");
  }
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, Math.min(ROWS, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.globalCompositeOperation = "copy";
  let strip = null;
  let top = -Infinity;

  function row(y) {
    if (y < top || y >= top + canvas.height) {
      top = y;
      context.drawImage(bitmap, 0, -top);
      strip = context.getImageData(0, 0, width, canvas.height).data;
    }
    return strip.subarray((y - top) * width * 4, (y - top + 1) * width * 4);
  }

  return { size: [width, height], row, close: () => bitmap.close() };
}
