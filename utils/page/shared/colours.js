// The colours of classes, those of predict.py (class_colour in utils/inference/draw.py).

const STEP = 0.618034;
const TONES = [
  [0.85, 1.0],
  [0.55, 1.0],
  [0.9, 0.7],
];

export function classColour(label) {
  const [saturation, value] = TONES[label % 3];
  return hsv((label * STEP) % 1, saturation, value);
}

/** Black or white, whichever contrasts more with a colour (WCAG 2, relative luminance). */
export function inkOn([red, green, blue]) {
  const linear = [red, green, blue].map((each) => {
    const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#000" : "#fff";
}

export const css = (colour) => `rgb(${colour.join(" ")})`;

function hsv(hue, saturation, value) {
  const channel = (offset) => {
    const k = (offset + hue * 6) % 6;
    return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}
