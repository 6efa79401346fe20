// The worker: keeps the networks and runs the samplers, so that the page scrolls while it draws.
//
// In:  {type: "data", name, part, parts, text}   a piece of a file in base64
//      {type: "draw", id, ...request}            see draw
//      {type: "stop", id}
//      {type: "gif", id, frames, size, delay, scale}
// Out: {type: "ready" | "step" | "done" | "gif" | "error", id, ...}

const files = new Map(); // name -> Blob, or an array of pieces while they arrive
const sessions = new Map(); // "model.part" -> an onnxruntime session, of one model at a time
const stopped = new Set();
let runtime = null;
let device = "wasm"; // or "webgpu": what computes, the same for as long as the worker lives
let queue = Promise.resolve();

function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

function receive({ name, part, parts, text }) {
  const pieces = files.get(name) ?? [];
  if (pieces instanceof Blob) return; // it is whole already
  pieces[part] = bytes(text);
  files.set(name, pieces.filter(Boolean).length < parts ? pieces : new Blob(pieces));
}

async function imported(name) {
  const blob = new Blob([files.get(name)], { type: "text/javascript" });
  const url = URL.createObjectURL(blob);
  try {
    return await import(url);
  } catch (error) { // a page from disk: some browsers refuse a Blob there, but not a data address
    return await import(new FileReaderSync().readAsDataURL(blob)).catch(() => Promise.reject(error));
  } finally {
    URL.revokeObjectURL(url);
  }
}

// onnxruntime reserves 4 GB of addresses, which iPhones refuse; 1 GB is more than any network needs.
const LARGEST_MEMORY = 16_384; // pages of 64 KiB
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(limits) {
    super({ ...limits, maximum: Math.min(limits.maximum ?? LARGEST_MEMORY, LARGEST_MEMORY) });
  }
};

async function startRuntime() {
  const ort = await imported(`runtime.${device}`);
  ort.env.wasm.numThreads = 1; // more need headers that plain hosting does not send
  ort.env.wasm.wasmBinary = await files.get(`code.${device}`).arrayBuffer();
  ort.env.logLevel = "error";
  return ort;
}

// Give the memory of the other models' networks back: all together take more than 600 MB.
async function releaseAllBut(model) {
  for (const [name, session] of sessions) {
    if (name.startsWith(`${model}.`)) continue;
    sessions.delete(name);
    await session.release();
  }
}

// A network of a model as an async function of its inputs, by name, to its only output.
async function network(model, part) {
  runtime ??= await startRuntime();
  const name = `${model}.${part}`;
  if (!sessions.has(name)) {
    await releaseAllBut(model);
    const weights = new Uint8Array(await files.get(name).arrayBuffer());
    sessions.set(name, await runtime.InferenceSession.create(weights, { executionProviders: [device], logSeverityLevel: 3 }));
    // A card that is lost, asleep or overloaded, may leave the next step without an answer.
    // (With its last session onnxruntime destroys the device itself, and asks for one for the next.)
    runtime.env.webgpu.device?.lost.then(({ reason, message }) => reason !== "destroyed" && self.postMessage({ type: "error", message }));
  }
  const session = sessions.get(name);
  return async (inputs) => (await session.run(inputs))[session.outputNames[0]].data;
}

const floats = (data, shape) => new runtime.Tensor("float32", data, [1, ...shape]);
const integers = (data) => new runtime.Tensor("int64", BigInt64Array.from(data, BigInt), [1, data.length]);
const time = (t) => new runtime.Tensor("int64", BigInt64Array.of(BigInt(t)), [1]);

// The denoiser of a model, guided if the request asks for it.
async function denoiser(model, { condition, ids, negative, guidance_scale = 1 }) {
  const unet = await network(model.name, "unet");
  const told = (extra) => {
    const f = async (xt, t) => unet({ xt: floats(xt, model.shape), t: time(t), ...extra });
    f.prediction = model.prediction;
    return f;
  };
  if (ids) {
    const text = await network(model.name, "text");
    const words = async (tokens) => floats(await text({ ids: integers(tokens) }), model.words);
    return guided(told({ words: await words(ids) }), told({ words: await words(negative) }), guidance_scale);
  }
  if (model.conditions?.length) {
    const nothing = model.conditions.map(() => -1);
    return guided(told({ condition: integers(condition ?? nothing) }), told({ condition: integers(nothing) }), guidance_scale);
  }
  return told({});
}

// Draw one picture and tell of every step. request: model (its entry in the manifest), sampler,
// steps, eta, seed, and what denoiser reads. With x0 and start it noises x0 to the time start and
// begins there.
async function draw({ id, on, model, sampler, steps, eta, seed, x0, start, ...rest }) {
  if (stopped.delete(id)) return;
  const began = performance.now();
  device = on;
  const net = await denoiser(model, rest);
  const decoder = model.parts.includes("decoder") ? await network(model.name, "decoder") : null;
  const look = (x) => (model.shape[0] > 3 ? latentPicture(x, model.shape) : to_rgba(x));
  const picture = async (x) => (decoder ? to_rgba(await decoder({ latents: floats(x, model.shape) })) : look(x));
  // A large picture takes longer to decode than a step to compute; of many steps a hundred are kept.
  const every = Math.max(model.decode_every ?? 1, Math.ceil(steps / 100));
  const ready = performance.now();
  self.postMessage({ type: "ready", id, seconds: (ready - began) / 1000 });

  const alpha_bar = cosine(model.T).slice(0, (start ?? model.T) + 1); // a shorter schedule starts later
  const randn = normal(seed);
  let begin = randn(model.shape.reduce((a, b) => a * b));
  if (x0) begin = add_noise(alpha_bar, x0, start, begin);
  let k = 0;
  for await (const step of SAMPLERS[sampler](net, alpha_bar, begin, { steps, eta, randn, clip: model.clip })) {
    const seen = k % every === 0 || step.t === 0;
    const believed = seen ? await picture(step.x0) : null;
    const noisy = look(step.xt);
    self.postMessage({ type: "step", id, k, t: step.t, xt: noisy, x0: believed }, [noisy, believed].filter(Boolean).map(({ buffer }) => buffer));
    await new Promise((resolve) => setTimeout(resolve)); // lets a "stop" come in
    if (stopped.delete(id)) return;
    k += 1;
  }
  self.postMessage({ type: "done", id, stopped: false, seconds: (performance.now() - ready) / 1000 });
}

// Three of a latent's channels as red, green and blue; 3 standard deviations are black and white.
function latentPicture(latent, [, height, width]) {
  return to_rgba(latent.subarray(0, 3 * height * width).map((value) => value / 3));
}

// A picture's bytes at scale times its side, between its pixels' centres by straight lines.
function enlarged(rgba, side, scale) {
  const at = Float64Array.from({ length: side * scale }, (_, k) => Math.min(Math.max((k + 0.5) / scale - 0.5, 0), side - 1));
  const out = new Uint8ClampedArray(4 * at.length ** 2);
  let i = 0;
  for (const y of at) {
    const [top, v] = [Math.floor(y), y % 1];
    const bottom = Math.min(top + 1, side - 1);
    for (const x of at) {
      const [left, u] = [Math.floor(x), x % 1];
      const right = Math.min(left + 1, side - 1);
      for (let c = 0; c < 4; c++) {
        const value = (row, column) => rgba[4 * (row * side + column) + c];
        out[i++] = (1 - v) * ((1 - u) * value(top, left) + u * value(top, right)) + v * ((1 - u) * value(bottom, left) + u * value(bottom, right));
      }
    }
  }
  return out;
}

let gifs = null;
async function gif({ id, frames, size, delay, scale }) {
  if (stopped.delete(id)) return;
  gifs ??= await imported("gifenc");
  const encoder = gifs.GIFEncoder();
  const side = size * scale;
  for (const [k, frame] of frames.entries()) {
    await new Promise((resolve) => setTimeout(resolve)); // lets a "stop" come in
    if (stopped.delete(id)) return;
    const large = enlarged(frame, size, scale);
    const palette = gifs.quantize(large, 256);
    encoder.writeFrame(gifs.applyPalette(large, palette), side, side, { palette, delay: k === frames.length - 1 ? 1500 : delay });
  }
  encoder.finish();
  self.postMessage({ type: "gif", id, data: encoder.bytes() });
}

const jobs = { draw, gif };
self.onmessage = ({ data }) => {
  if (data.type === "data") return receive(data);
  if (data.type === "stop") return stopped.add(data.id);
  queue = queue.then(() => jobs[data.type](data)).catch((error) => {
    self.postMessage({ type: "error", id: data.id, message: String(error?.message ?? error) });
  });
};
