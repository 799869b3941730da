"""A folder of `--format web` whose runtime is a small script that finds red boxes."""

from tests.fake_runtime import make_metadata
from utils.export import web
from utils.export.formats import ExportSettings

# Has the interface of ONNX Runtime Web that the page uses.
RED_FINDER = """
export const env = { wasm: {} };
export class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}
export const InferenceSession = {
  create: async (bytes) => {
    if (new TextDecoder().decode(bytes) !== "a model") throw new Error("not the model");
    return { run: async ({ images }) => find(images) };
  },
};
function find({ data, dims: [, height, width] }) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 3 * (y * width + x);
      if (data[at] <= 200 || data[at + 1] >= 50) continue;
      box[0] = Math.min(box[0], x / width);
      box[1] = Math.min(box[1], y / height);
      box[2] = Math.max(box[2], (x + 1) / width);
      box[3] = Math.max(box[3], (y + 1) / height);
    }
  }
  const found = Number.isFinite(box[0]);
  return {
    boxes: { data: Float32Array.from(found ? box : [0, 0, 0, 0]) },
    scores: { data: Float32Array.of(found ? 0.9 : 0) },
  };
}
"""


def write_folder(path, monkeypatch, **options):
    """Writes a folder; `options` are fields of its metadata."""
    runtime = {"ort.wasm.min.js": RED_FINDER.encode(), "LICENSE": b"MIT"}
    monkeypatch.setattr(web, "read_runtime", lambda providers: runtime)
    metadata = make_metadata(batch=1, **options)
    web.export_web(
        ExportSettings("web", batch=1),
        metadata,
        path,
        lambda settings, model: model.write_bytes(b"a model"),
    )
