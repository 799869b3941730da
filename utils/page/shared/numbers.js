// Small helpers for numbers.

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Rounds as Python's round() and NumPy do. */
export function roundHalfToEven(value) {
  const below = Math.floor(value);
  if (value - below === 0.5) return below % 2 ? below + 1 : below;
  return Math.round(value);
}
