// Opens the model in ONNX Runtime Web: on the GPU where the browser offers WebGPU, else in WebAssembly.

const FILES = {
  webgpu: ["ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify"],
  wasm: ["ort.wasm.min.js", "ort-wasm-simd-threaded"],
};
const FOLDER = new URL("../runtime/", import.meta.url).href;
const MOST_THREADS = 4; // more hardly help a network of this size, and phones have slow cores

/**
 * Opens a model, and runs it once.
 *
 * `about` is model.json, `bytes` the model, and `wanted` "webgpu" or "wasm", or null for the best.
 * Returns a function from a canvas (H, W, 3) to `boxes` and `scores`, and `description`, in words.
 */
export async function openModel(about, bytes, wanted) {
  let failure = "";
  if (await usesGpu(about.runtimes, wanted)) {
    try {
      return await open("webgpu", about, bytes, "WebGPU");
    } catch (error) {
      if (wanted) throw error;
      failure = `, as WebGPU fails: ${error.message}`;
    }
  }
  // Threads share memory, which browsers allow only to isolated pages, see service_worker.js.
  const threads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  const words = `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}${failure}`;
  return open("wasm", about, bytes, words, threads);
}

async function usesGpu(runtimes, wanted) {
  if (wanted === "wasm" || !runtimes.includes("webgpu")) return false;
  const adapter = await navigator.gpu?.requestAdapter();
  // Without a GPU, browsers may compute on the processor, which is slower than WebAssembly.
  return Boolean(adapter) && (wanted === "webgpu" || !adapter.info?.isFallbackAdapter);
}

async function open(kind, about, bytes, words, threads = 1) {
  const [script, name] = FILES[kind];
  const ort = await import(FOLDER + script);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: `${FOLDER}${name}.js`, wasm: `${FOLDER}${name}.wasm` };
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [kind] });
  const shape = [1, ...about.metadata.input_size, 3];

  async function run(canvas) {
    const { boxes, scores } = await session.run({ images: new ort.Tensor("float32", canvas, shape) });
    // A NaN in any of them makes the sum NaN.
    if (Number.isNaN(sum(boxes.data) + sum(scores.data))) throw new Error("The network computes NaN.");
    return { boxes: boxes.data, scores: scores.data };
  }
  await run(new Float32Array(shape[1] * shape[2] * 3)); // the first run takes longer
  return { run, description: `${about.runtime}, ${words}` };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
