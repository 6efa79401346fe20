// What the parts of the page are made of: elements, fields, and the view of a trajectory.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A button that is off keeps the keyboard's focus, as it may be pressed when it goes off.
const isOff = (element) => element.getAttribute("aria-disabled") === "true";
const turn = (element, on) => element.setAttribute("aria-disabled", String(!on));
function button(text, onclick, { off = false, ...attributes } = {}) {
  const press = (event) => isOff(event.currentTarget) || onclick(event);
  return make("button", { type: "button", onclick: press, "aria-disabled": String(off), ...attributes }, text);
}

// A labelled control; value() reads it.
function field(label, control, more = []) {
  const element = make("label", { class: "live-field" }, make("span", {}, label), control, ...more);
  return { element, control, show: (on) => (element.hidden = !on), value: () => (control.tagName === "SELECT" ? control.value : Number(control.value)) };
}

function choice(label, options, selected) {
  const items = options.map(([value, text]) => make("option", { value, selected: value === selected }, text));
  return field(label, make("select", {}, ...items));
}

const SEED = 11; // to begin with: DDIM draws nearly the same tiger from it in 10 and in 25 steps
const number = (label, value, min, max) => field(label, make("input", { type: "number", value, min, max, step: 1, inputmode: "numeric" }));

// A slider with its value beside it; words(value) says its value.
function slider(label, value, min, max, step, words = String) {
  const control = make("input", { type: "range", min, max, step, value });
  const output = make("output", { "aria-hidden": "true" }); // the slider says it
  const tell = () => {
    output.textContent = words(Number(control.value));
    control.setAttribute("aria-valuetext", output.textContent);
  };
  control.addEventListener("input", tell);
  tell();
  return { ...field(label, control, [output]), tell };
}

// The seed of the noise, and a button that takes another one.
function seedField() {
  const seed = number("Seed of the noise", SEED, 0, 4294967295);
  const random = button("Random", () => {
    seed.control.value = Math.floor(Math.random() * 1e6);
    seed.control.dispatchEvent(new Event("input"));
  }, { "aria-label": "Random seed" });
  return { ...seed, element: make("div", { class: "live-field" }, seed.element, random, make("span", {}, "same number, same noise")) };
}

// Sampler, steps, eta and seed, as every part of the page has them.
const NAMES = { dpm_solver: "DPM-Solver++", ddim: "DDIM", ddpm: "DDPM" };
function samplerFields(model, use = {}) {
  const sampler = choice("Sampler", Object.entries(NAMES));
  const many = number("Steps", 10, 1, model?.T ?? 1000);
  const eta = slider("η, noise of DDIM", 0, 0, 1, 0.1, (x) => x.toFixed(1));
  const noise = seedField();
  const adapt = () => eta.show(sampler.value() === "ddim");
  sampler.control.addEventListener("change", adapt);
  const set = (found) => {
    sampler.control.value = found?.sampler ?? "dpm_solver";
    many.control.value = found?.steps ?? 10;
    adapt();
  };
  set({ ...model, ...use });
  return {
    elements: [sampler.element, many.element, eta.element, noise.element],
    seed: noise,
    set,
    read() {
      checkNumbers(many, noise);
      return { sampler: sampler.value(), steps: many.value(), eta: eta.value(), seed: noise.value() };
    },
    words: (request) => `${samplerWords(request)}, seed ${request.seed}`,
  };
}

// The same for the name of a file.
const fileWords = ({ sampler, steps, eta, seed }) => `${seed}-${sampler.replace("_", "-")}-${steps}-steps${sampler === "ddim" && eta > 0 ? `-eta-${eta}` : ""}`;
const samplerWords = ({ sampler, steps, eta }) => `${NAMES[sampler]}, ${steps} step${steps > 1 ? "s" : ""}${sampler === "ddim" && eta > 0 ? `, η = ${eta}` : ""}`;

// Refuse what is no whole number within its bounds.
function checkNumbers(...fields) {
  const wrong = fields.find(({ control }) => !control.checkValidity() || control.value === "")?.control;
  if (wrong) throw new Failure(`${wrong.parentElement.firstChild.textContent} must be a whole number between ${wrong.min} and ${wrong.max}.`);
}

// Whether the reader asked for little motion.
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function canvas(size, label) {
  return make("canvas", { width: size, height: size, role: "img", "aria-label": label });
}

// Show a picture, enlarged smoothly; noise keeps its hard pixels.
function paint(target, rgba, noisy = false) {
  const side = Math.sqrt(rgba.length / 4);
  if (target.width !== side) target.width = target.height = side;
  target.classList.toggle("live-smooth", !noisy);
  target.getContext("2d").putImageData(new ImageData(rgba, side), 0, 0);
}

const clear = (target) => target.getContext("2d").clearRect(0, 0, target.width, target.height);

function figure(target, caption) {
  return make("figure", {}, target, make("figcaption", {}, caption));
}

// What the two pictures of a trajectory are called: on the way, at its start and at its end.
const PICTURES = { noisy: "noisy picture xₜ", first: "pure noise", finished: "finished picture x₀", drawn: "the same: nothing is left to predict" };

// x_t and the believed x0 side by side: live while they are computed, with a slider afterwards.
function trajectory(size, names = {}) {
  const { noisy, first, finished, drawn } = { ...PICTURES, ...names };
  const [left, right] = [canvas(size, noisy), canvas(size, "clean picture that the network predicts")];
  const scrub = slider("Look back", 0, 0, 0, 1, () => "");
  scrub.show(false);
  const view = { frames: [], steps: 1, what: "" };
  const show = (k) => {
    const frame = view.frames[k];
    if (!frame) return;
    view.shown = frame;
    const latent = frame.xt.length < frame.x0.length;
    paint(left, frame.xt, latent || frame.t > 0);
    paint(right, frame.x0);
    const place = `step ${frame.k} of ${view.steps}, t = ${frame.t}${frame.k ? "" : `: ${first}, and the network's first guess`}`;
    scrub.element.querySelector("output").textContent = place;
    scrub.control.setAttribute("aria-valuetext", place);
    const ended = frame.t === 0;
    captions[0].textContent = ended ? finished : noisy;
    captions[1].textContent = ended ? drawn : "predicted clean picture";
    left.setAttribute("aria-label", `${captions[0].textContent}, ${place}`);
    right.setAttribute("aria-label", ended ? `The picture that was drawn: ${view.what}` : `clean picture that the network predicts, ${place}`);
  };
  scrub.control.addEventListener("input", () => show(Number(scrub.control.value)));
  const figures = [figure(left, noisy), figure(right, "predicted clean picture")];
  const captions = figures.map((each) => each.lastChild);
  const pictures = make("div", { class: `live-pictures${size > 128 ? " live-two" : ""}` }, ...figures);
  const element = make("div", { class: "live-trajectory" }, pictures, scrub.element);
  return Object.assign(view, {
    element, pictures, left, right,
    begin(steps, what) {
      Object.assign(view, { frames: [], steps, what });
      captions[0].textContent = noisy;
      captions[1].textContent = "predicted clean picture";
      scrub.show(false);
    },
    add(step) {
      if (!step.x0) { // the picture of a step that was not kept
        paint(left, step.xt, true);
        left.setAttribute("aria-label", `${noisy}, step ${step.k} of ${view.steps}, t = ${step.t}`);
        captions[1].textContent = `predicted clean picture, at t = ${view.frames.at(-1).t}`;
        return;
      }
      view.frames.push(step);
      show(view.frames.length - 1);
    },
    // See again what was drawn before.
    open({ frames, steps, what }) {
      Object.assign(view, { frames, steps, what });
      view.end();
    },
    end() {
      if (view.frames.length === 0) { // it ended before the first step
        for (const each of [left, right]) {
          clear(each);
          each.setAttribute("aria-label", "not drawn yet");
        }
      }
      scrub.control.max = view.frames.length - 1;
      scrub.control.value = view.frames.length - 1;
      scrub.show(view.frames.length > 1);
      show(view.frames.length - 1);
    },
  });
}

// Buttons to keep what is seen, enlarged to 256 pixels, and all steps; name() is that of the drawing.
function downloads(view, name, tell) {
  const save = (blob, file) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // an iPhone asks first
  };
  const png = button("Save as PNG", () => {
    const scale = Math.max(1, Math.round(256 / view.right.width));
    const side = scale * view.right.width;
    const { k, t } = view.shown;
    const file = `${name()}${t > 0 ? `-step-${k}` : ""}.png`;
    const large = canvas(side, "");
    const context = large.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(view.right, 0, 0, side, side);
    large.toBlob((blob) => {
      save(blob, file);
      tell(`Saved ${file}${scale > 1 ? ` (enlarged ${scale} times)` : ""}.`);
    });
  });
  const film = "Save the steps as a film (GIF)";
  let making = null; // the id of the job
  const gif = button(film, async () => {
    if (making !== null) return engine.stop(making);
    making = engine.id();
    gif.textContent = "Stop making the GIF";
    if (engine.jobs.size > 0) tell("Another part of this page is drawing; the GIF is made when that is done.");
    try {
      const [frames, file] = [view.frames.map(({ x0 }) => x0), `${name()}.gif`];
      const data = await engine.gif(making, frames, view.right.width, 120);
      if (!data) return tell("The GIF was not made.");
      save(new Blob([data], { type: "image/gif" }), file);
      tell(`Saved ${file}, ${frames.length} frames: clean pictures that the network predicted on the way.`);
    } catch (error) {
      tell(sentence(error));
    } finally {
      making = null;
      gif.textContent = film;
    }
  });
  const element = make("div", { class: "live-buttons", hidden: true }, png, gif);
  return { element, show: (on) => (element.hidden = !on) };
}

const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

// The line that says what happens, and the bar beside it. Above it a hint that a screen reader does
// not announce, as it changes often: first how much the model that model() gives would load, and
// while it draws, which step it is at.
function progress(model = () => null, before = "") {
  const shared = document.querySelectorAll("[data-live]").length > 1 ? "; the parts of this page share what is loaded" : "";
  const [hint, status] = [make("p"), make("p", { role: "status" })];
  const renew = () => {
    if (status.textContent !== "") return;
    const size = model() && engine.missing(model());
    hint.textContent = size ? `${before}The first picture loads ${inMegabytes(size)}${shared}.` : before;
  };
  renew();
  engine.whenLoaded.push(renew);
  const bar = make("progress", { max: 1, value: 0, hidden: true, "aria-label": "Progress" });
  return {
    elements: [bar, make("div", { class: "live-status" }, hint, status)],
    renew,
    tell(text) {
      hint.textContent = "";
      if (text !== status.textContent) status.textContent = text;
    },
    text: () => status.textContent,
    bar(value, words = "") {
      bar.hidden = value === null;
      bar.value = value ?? 0;
      hint.textContent = words;
    },
  };
}

function sentence(error) {
  if (error instanceof Failure) return error.message;
  console.error(error); // a fault of this page: its author wants the line
  return `Something went wrong in this page: ${error.message}.`;
}

const PLACES = { wasm: "on one core of the processor", webgpu: "on the graphics card" };

const stopButton = () => button("Stop", ({ currentTarget }) => currentTarget.onstop(), { off: true });

function loadingWords(model) {
  if (engine.isLoading()) return "Another part of this page is loading too; what both need is loaded once.";
  const size = engine.missing(model);
  if (size) return `Loading ${inMegabytes(size)}: the network and what runs it.`;
  return engine.jobs.size > 0 ? "Another part of this page is drawing; this one begins when it is done." : "Drawing.";
}

// Run one drawing from its button to its end: loading, steps, result or sentence.
async function run({ request, view, what, report, start, stop }) {
  const id = engine.id();
  start.forEach((each) => turn(each, false));
  turn(stop, true);
  stop.onstop = () => engine.stop(id);
  let place, problem, loading;
  const begin = (why) => {
    [place, problem, loading] = ["before the first step", why, `${why}${loadingWords(request.model)}`];
    report.tell(loading);
    report.bar(0);
    view.begin(request.steps, what);
  };
  begin("");
  view.element.scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" }); // on a phone it lies below
  try {
    const listen = (answer) => {
      if (answer.card) begin("The graphics card failed, so the processor draws. ");
      if (answer.type === "ready") report.tell(`${problem}Drawing: ${what}.`);
      if (answer.type !== "step") return;
      view.add(answer);
      place = `at step ${answer.k} of ${request.steps}`;
      report.bar(answer.k / request.steps, `Now ${place}.`);
      const shown = view.frames.at(-1).k;
      if (shown < answer.k) place += ` (step ${shown} is shown)`;
    };
    const progress = (share, sentence = loading) => (report.bar(share), report.tell(sentence));
    const done = await engine.draw(request, { id, progress, listen });
    view.end();
    const each = (1000 * done.seconds) / request.steps;
    report.tell(done.stopped ? `Stopped ${place}. Press “${start[0].textContent}” to start again.` : `${problem}Done: ${what}, in ${done.seconds.toFixed(1)} s (${each.toFixed(0)} ms a step, ${PLACES[engine.device]}).`);
    return !done.stopped;
  } catch (error) {
    view.end();
    report.tell(sentence(error));
    return false;
  } finally {
    report.bar(null);
    start.forEach((each) => turn(each, true));
    turn(stop, false);
  }
}
