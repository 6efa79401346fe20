// The page's side of the worker: brings the files over, asks for pictures, says what went wrong.
// MANIFEST, WORKER (the worker's source) and BASE (the folder of the files) come from the build.

// An error whose message is a sentence for the reader.
class Failure extends Error {}

// The graphics card failed: what was asked is asked again, of the processor.
class CardFailure extends Error {}

const SENTENCES = {
  missing: "This book was built without the networks, so nothing can be drawn here: build it again with a connection to npm.",
  wasm: "This browser cannot run WebAssembly, which the networks need: open the page in a current Firefox, Chrome, Edge or Safari.",
  connection: "A part of the network did not arrive: check the connection and press the button again; what has arrived is kept. If that does not help, load the page again.",
  slow: "Less than a megabyte has arrived in 20 seconds: the connection is slow or lost. The page goes on as soon as more arrives.",
  forbidden: "This site or this browser does not allow WebAssembly, which the networks need: allow it, or open the page in another browser.",
  memory: "There is too little memory for this network: close other tabs and press the button again.",
};

const engine = {
  worker: null,
  device: "wasm", // what computes: the processor, or with "webgpu" the graphics card
  cardFailed: false, // since the reader chose it
  parts: new Map(), // address of a file's part -> its arrival in this worker
  jobs: new Map(), // id -> what to do with an answer
  last: 0,
  loading: new Set(), // ids of the jobs whose files arrive
  whenLoaded: [], // functions to call when a job's files are there, or the device is another

  // Start the worker where there is none.
  start() {
    if (this.worker) return;
    if (MANIFEST.models.length === 0) throw new Failure(SENTENCES.missing);
    if (typeof WebAssembly !== "object" || typeof Worker !== "function") throw new Failure(SENTENCES.wasm);
    // From a Blob, because a page from disk may not start a worker from a file.
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url);
    setTimeout(() => URL.revokeObjectURL(url), 10_000); // Safari may still read it
    this.worker.onmessage = ({ data }) => (data.type === "error" ? this.fail(data) : this.jobs.get(data.id)?.(data));
    this.worker.onerror = (event) => this.fail({ type: "error", message: event.message || "the worker ended" });
  },

  // Tell all jobs of an error. After one of the graphics card the processor computes.
  fail(answer) {
    const card = this.device === "webgpu";
    if (card) {
      console.warn(`The graphics card failed: ${answer.message}`);
      [this.device, this.cardFailed] = ["wasm", true];
    }
    this.reset({ ...answer, card });
    if (card) this.whenLoaded.forEach((tell) => tell());
  },

  // End the worker and give this answer to all jobs, so that the next press of a button starts afresh.
  reset(answer) {
    if (this.worker) this.worker.onmessage = this.worker.onerror = null; // what is on its way is void
    this.worker?.terminate();
    this.worker = null;
    this.parts.clear();
    for (const job of [...this.jobs.values()]) job(answer);
  },

  // Bring the files over for a job while it is wanted, part by part, each as a script: a page from
  // disk may load nothing else. Two jobs share what is on its way.
  async load(names, wanted, progress) {
    const urls = names.flatMap((name) => MANIFEST.files[name].parts.map((part) => BASE + part));
    for (const [k, url] of urls.entries()) {
      const late = setTimeout(() => wanted() && progress(k / urls.length, SENTENCES.slow), 20_000);
      if (!this.parts.has(url)) this.parts.set(url, script(url).then((part) => this.worker?.postMessage({ type: "data", ...part })));
      await this.parts.get(url).finally(() => clearTimeout(late));
      if (!wanted()) return;
      progress((k + 1) / urls.length);
    }
  },

  // Load the files that a job needs, send it, and hand each answer to its listener until it is done.
  ask(job, files, { progress = () => {}, listen = () => {} } = {}) {
    return new Promise((resolve, reject) => {
      this.start();
      const hear = (answer) => {
        const ended = answer.type !== "ready" && answer.type !== "step";
        if (ended) this.jobs.delete(job.id);
        listen(answer);
        if (answer.type === "error") reject(answer.card ? new CardFailure() : failure(answer.message));
        else if (ended) resolve(answer);
      };
      const wanted = () => this.jobs.get(job.id) === hear; // not stopped, and not asked again
      this.jobs.set(job.id, hear);
      this.loading.add(job.id);
      this.load(files(), wanted, progress).finally(() => this.loading.delete(job.id)).then(
        () => {
          if (wanted()) this.worker.postMessage({ ...job, on: this.device });
          this.whenLoaded.forEach((tell) => tell());
        },
        (error) => {
          this.parts.delete(error.url); // to be fetched again
          if (wanted()) this.jobs.delete(job.id);
          reject(error);
        });
    }).catch((error) => {
      if (error instanceof CardFailure) return this.ask(job, files, { progress, listen });
      throw error;
    });
  },

  // Draw a picture; request as the worker's draw takes it.
  draw(request, { id, ...options }) {
    return this.ask({ type: "draw", id, ...request }, () => this.files(request.model), options);
  },

  // What a model needs, and how many bytes of it have not been asked for yet.
  files({ name, parts }) {
    return [`runtime.${this.device}`, `code.${this.device}`, ...parts.map((part) => `${name}.${part}`)];
  },
  missing(model) {
    const files = this.files(model).map((name) => MANIFEST.files[name]);
    return files.filter(({ parts }) => !parts.every((url) => this.parts.has(BASE + url))).reduce((sum, { bytes }) => sum + bytes, 0);
  },

  // Whether a job's files arrive now, and the job is not stopped.
  isLoading() {
    return [...this.loading].some((id) => this.jobs.has(id));
  },

  // Compute elsewhere from the next picture on.
  move(device) {
    this.reset({ type: "done", stopped: true });
    [this.device, this.cardFailed] = [device, false];
    this.whenLoaded.forEach((tell) => tell()); // another device needs other files
  },

  async gif(id, frames, size, delay) {
    const scale = Math.max(1, Math.round(256 / size));
    return (await this.ask({ type: "gif", id, frames, size, delay, scale }, () => ["gifenc"])).data;
  },

  // Stop a job at once, while its files arrive or while it draws; the worker ends after its step.
  stop(id) {
    this.worker?.postMessage({ type: "stop", id });
    this.jobs.get(id)?.({ type: "done", stopped: true });
  },

  id() {
    return ++this.last;
  },
};

// The part of a file that a script brings, which calls tigerdiffPart just before it is loaded.
let brought = null;
window.tigerdiffPart = (name, part, parts, text) => (brought = { name, part, parts, text });

function script(url) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = url;
    element.onload = element.onerror = () => {
      element.remove();
      if (brought) resolve(brought);
      else reject(Object.assign(new Failure(SENTENCES.connection), { url }));
      brought = null;
    };
    document.head.append(element);
  });
}

function failure(message) {
  if (/Content Security|unsafe-eval|disallowed/i.test(message)) return new Failure(SENTENCES.forbidden);
  if (/memory|alloc|abort/i.test(message) && !/CompileError/.test(message)) return new Failure(SENTENCES.memory);
  return new Failure(`The network could not run in this browser (${message}): try a current Firefox, Chrome, Edge or Safari.`);
}
