// The page's side of the worker: brings the files over, asks for pictures, says what went wrong.
// MANIFEST, WORKER (the worker's source) and BASE (the folder of the files) come from the build.

// An error whose message is a sentence for the reader.
class Failure extends Error {}

const SENTENCES = {
  missing: "This book was built without the networks, so nothing can be drawn here: build it again with a connection to npm.",
  wasm: "This browser cannot run WebAssembly, which the networks need: open the page in a current Firefox, Chrome, Edge or Safari.",
  connection: "A part of the network did not arrive: check the connection and press the button again; what has arrived is kept.",
  memory: "There is too little memory for this network: close other tabs and press the button again.",
};

const engine = {
  worker: null,
  device: "wasm", // what computes: the processor, or with "webgpu" the graphics card
  arrived: new Set(), // of the files' parts, in this worker
  jobs: new Map(), // id -> how to answer it
  last: 0,

  // Start the worker where there is none.
  start() {
    if (this.worker) return;
    if (MANIFEST.models.length === 0) throw new Failure(SENTENCES.missing);
    if (typeof WebAssembly !== "object" || typeof Worker !== "function") throw new Failure(SENTENCES.wasm);
    // From a Blob, because a page from disk may not start a worker from a file.
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = ({ data }) => this.jobs.get(data.id)?.(data);
    this.worker.onerror = (event) => {
      for (const [id, answer] of this.jobs) answer({ type: "error", id, message: event.message ?? "the worker ended" });
    };
    window.tigerdiffPart = (name, part, parts, text) => this.worker.postMessage({ type: "data", name, part, parts, text });
  },

  // Forget everything, so that the next press of a button starts afresh.
  reset() {
    this.worker?.terminate();
    this.worker = null;
    this.arrived.clear();
    this.jobs.clear();
  },

  // Bring files over, part by part, each as a script: a page from disk may load nothing else.
  async load(names, progress) {
    this.start();
    const urls = names.flatMap((name) => MANIFEST.files[name].parts);
    for (const [k, url] of urls.entries()) {
      if (!this.arrived.has(url)) await script(BASE + url);
      this.arrived.add(url);
      progress((k + 1) / urls.length);
    }
  },

  // Send a job and hand each answer to its listener until the job is done.
  ask(job, listen = () => {}) {
    this.start();
    return new Promise((resolve, reject) => {
      this.jobs.set(job.id, (answer) => {
        listen(answer);
        if (answer.type === "done" || answer.type === "gif") resolve(answer);
        if (answer.type === "error") reject(failure(answer.message));
        if (answer.type === "done" || answer.type === "gif") this.jobs.delete(job.id);
        if (answer.type === "error") this.reset();
      });
      this.worker.postMessage(job);
    });
  },

  // Draw a picture; request as the worker's draw takes it.
  async draw(request, { id, progress, listen }) {
    await this.load(this.files(request.model), progress);
    return this.ask({ type: "draw", id, on: this.device, ...request }, listen);
  },

  // What a model needs, and how many bytes of it have not arrived yet.
  files({ name, parts }) {
    return [`runtime.${this.device}`, `code.${this.device}`, ...parts.map((part) => `${name}.${part}`)];
  },
  missing(model) {
    const files = this.files(model).map((name) => MANIFEST.files[name]);
    return files.filter(({ parts }) => !parts.every((url) => this.arrived.has(url))).reduce((sum, { bytes }) => sum + bytes, 0);
  },

  // Compute elsewhere from the next picture on.
  move(device) {
    this.reset();
    this.device = device;
  },

  async gif(frames, size, delay) {
    await this.load(["gifenc"], () => {});
    const scale = Math.max(1, Math.round(256 / size));
    return (await this.ask({ type: "gif", id: this.id(), frames, size, delay, scale })).data;
  },

  stop(id) {
    this.worker?.postMessage({ type: "stop", id });
  },

  id() {
    return ++this.last;
  },
};

function script(url) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = url;
    element.onload = () => (element.remove(), resolve());
    element.onerror = () => (element.remove(), reject(new Failure(SENTENCES.connection)));
    document.head.append(element);
  });
}

function failure(message) {
  if (engine.device === "webgpu") return new Failure(`The graphics card could not run the network (${message}): choose the processor above.`);
  if (/memory|alloc|abort/i.test(message)) return new Failure(SENTENCES.memory);
  return new Failure(`The network could not run in this browser (${message}): try a current Firefox, Chrome, Edge or Safari.`);
}
