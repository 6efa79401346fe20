// "Your picture": noise any photo up to a time, and let the model draw from there.

const MEGAPIXELS = 40; // more may not fit into the memory of a phone

// A file as an image of size x size, its middle cut out, on the scale of [-1, 1].
async function readPhoto(file, size) {
  const url = URL.createObjectURL(file);
  const picture = new Image();
  try {
    const opened = new Promise((resolve, reject) => ((picture.onload = resolve), (picture.onerror = reject)));
    picture.src = url;
    await opened.catch(() => {
      throw new Failure(`The browser cannot open ${file.name} as a picture: choose a JPEG, PNG or WebP file.`);
    });
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    const megapixels = (width * height) / 1e6;
    if (megapixels > MEGAPIXELS) throw new Failure(`${file.name} has ${Math.round(megapixels)} megapixels: choose a photo of at most ${MEGAPIXELS}.`);
    const side = Math.min(width, height);
    if (side === 0) throw new Failure(`${file.name} has no size in pixels: choose a JPEG, PNG or WebP file.`);
    // The whole picture is made small, then its middle is taken: Firefox before 149 does not cut here.
    const [w, h] = [width, height].map((pixels) => Math.round((pixels * size) / side));
    const options = { resizeWidth: w, resizeHeight: h, resizeQuality: "high" };
    const small = await createImageBitmap(picture, options).catch(() => {
      throw new Failure(`The browser has no memory for ${file.name}, or it is damaged: choose a smaller photo.`);
    });
    const context = canvas(size, "").getContext("2d");
    context.fillStyle = "#fff"; // behind what is transparent
    context.fillRect(0, 0, size, size);
    context.drawImage(small, Math.round((size - w) / 2), Math.round((size - h) / 2));
    small.close();
    return from_rgba(context.getImageData(0, 0, size, size).data);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// The image on the scale of [-1, 1] of a picture's bytes; to_rgba the other way round.
function from_rgba(rgba) {
  const n = rgba.length / 4;
  const image = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) image[c * n + i] = rgba[4 * i + c] / 127.5 - 1;
  return image;
}

// How alike two pictures are: the correlation of their values, 1 for the same picture.
function likeness(a, b) {
  const mean = (x) => x.reduce((sum, value) => sum + value, 0) / x.length;
  const centred = (x, middle = mean(x)) => x.map((value) => value - middle);
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const [x, y] = [centred(Float64Array.from(a)), centred(Float64Array.from(b))];
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y) || 1);
}

function mountPhoto(root) {
  const model = pixelModels()[0]; // nothing is asked of it: the picture says enough
  const size = model?.shape[1] ?? 64;
  const alpha_bar = cosine(model?.T ?? 1000);
  const T = alpha_bar.length - 1;
  const fields = samplerFields(model);
  const file = make("input", { type: "file", accept: "image/*" });
  const choose = make("label", { class: "live-drop" }, make("span", {}, "Choose a photo, or drop one here. It stays in your browser."), file);
  const problem = make("p", { role: "status", class: "live-problem" });
  const percent = (x) => `${Math.round(100 * x)} %`;
  const strength = slider("Strength", 0.7, 0.05, 1, 0.05, (x) => `${percent(x)}: the noise of time t = ${Math.round(T * x)} of ${T} is added, and the model starts there`);
  const start = () => Math.round(T * strength.value());
  const own = canvas(size, "your picture, not chosen yet");
  const view = trajectory(size, { first: "your picture with noise" });
  view.pictures.prepend(figure(own, `your picture, cut to a square, at ${size} pixels`));
  const report = progress(() => model, "Choose a photo first. ");
  const row = make("div", { class: "live-pictures live-four" });
  let [x0, chosenBefore, shown] = [null, "", null]; // shown is what was drawn and is seen large
  const stem = () => chosenBefore.replace(/\.[^.]*$/, "");
  const save = downloads(view, () => `${stem()}-as-tiger-${Math.round(100 * shown.share)}-percent-${fileWords(shown.request)}`, report.tell);

  const set = (share) => {
    strength.control.value = share;
    strength.tell();
  };
  // Make one drawing, or none, the one that is seen large and saved; the slider says its strength.
  const show = (result) => {
    shown = result;
    for (const small of row.querySelectorAll("button")) small.setAttribute("aria-pressed", String(small.result === result));
    save.show(result !== null);
    if (!result) return;
    set(result.share);
    fields.seed.control.value = result.request.seed;
    view.open(result);
  };

  const preview = () => {
    if (!x0 || !isOff(stop)) return; // while it draws, the pictures are the drawing's
    paint(own, to_rgba(x0));
    own.setAttribute("aria-label", `your picture at ${size} pixels`);
    view.begin(1, "");
    show(null);
    clear(view.right); // what was drawn from another noise
    view.right.setAttribute("aria-label", "not drawn yet");
    const noisy = add_noise(alpha_bar, x0, start(), normal(fields.seed.value())(x0.length));
    paint(view.left, to_rgba(noisy), true);
    view.left.setAttribute("aria-label", `your picture with noise, t = ${start()}`);
  };
  let last = null; // the file that was chosen last: an earlier one may take longer to open
  const open = async (chosen) => {
    if (!chosen) return;
    last = chosen;
    try {
      const opened = await readPhoto(chosen, size);
      if (chosen !== last) return;
      stop.click(); // a drawing from the picture before
      await running;
      if (chosen !== last) return;
      x0 = opened;
      chosenBefore = chosen.name;
      problem.textContent = "";
      row.replaceChildren();
      report.tell(`${chosen.name} is ready. Set the strength of the noise, then press “Make it a tiger”.`);
      for (const each of [go, four]) turn(each, true);
      preview();
    } catch (error) {
      if (chosen === last) problem.textContent = `${sentence(error)}${x0 ? ` ${chosenBefore}, chosen before, is still in use.` : ""}`;
    }
  };
  file.addEventListener("change", () => open(file.files[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  for (const missed of ["dragover", "drop"]) { // beside the part: the browser would leave the page
    window.addEventListener(missed, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  }
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    const { files } = event.dataTransfer;
    if (files.length === 0) return (problem.textContent = "What was dropped is not a file: drop a photo, or choose one.");
    file.files = files; // the field names what is in use
    open(files[0]);
  });
  strength.control.addEventListener("input", preview);
  fields.seed.control.addEventListener("input", preview);

  const draw = async (share, settings = fields.read()) => {
    if (!model) throw new Failure(SENTENCES.missing);
    const from = Math.round(T * share);
    const request = { model, ...settings, steps: Math.min(settings.steps, from), x0, start: from };
    const what = `from t = ${from} of ${T}, ${fields.words(request)}`;
    show(null);
    set(share);
    const whole = await run({ request, view, what, report, start: [go, four], stop });
    if (view.frames.length === 0) preview();
    if (!whole) return null;
    const like = likeness(from_rgba(view.frames.at(-1).x0), request.x0).toFixed(2);
    const result = { share, request, what, like, frames: view.frames, steps: request.steps };
    show(result);
    report.tell(`${report.text()} Likeness to your picture: ${like}.`);
    return result;
  };
  const small = (result) => {
    const caption = `strength ${percent(result.share)}, likeness ${result.like}`;
    const target = canvas(size, caption);
    paint(target, result.frames.at(-1).x0);
    const press = button("", () => isOff(stop) && (show(result), report.tell(`Shown: ${caption}.`)), { class: "live-small", "aria-label": `Show large: ${caption}` });
    press.append(target);
    press.result = result;
    return figure(press, caption);
  };
  let running = Promise.resolve();
  const guarded = (action) => () => (running = action().catch((error) => report.tell(sentence(error))));
  const compare = async () => {
    const [wanted, settings, results] = [strength.value(), fields.read(), []];
    row.replaceChildren();
    for (const share of [0.3, 0.5, 0.7, 0.9]) {
      const result = await draw(share, settings);
      if (!result) {
        if (view.frames.length > 0) return; // the slider says the strength of what is seen
        set(wanted);
        preview();
        return;
      }
      results.push(result);
      row.append(small(result));
    }
    const far = ({ share }) => Math.abs(share - wanted);
    show(results.reduce((nearest, each) => (far(each) < far(nearest) ? each : nearest)));
    report.tell("Done: four strengths, below. Press one to see it large and save it.");
  };
  const go = button("Make it a tiger", guarded(() => draw(strength.value())), { class: "live-main", off: true });
  const four = button("Compare four strengths", guarded(compare), { off: true });
  const stop = stopButton();
  root.append(choose, problem, make("div", { class: "live-fields" }, strength.element, ...fields.elements),
    make("div", { class: "live-buttons" }, go, four, stop), ...report.elements, view.element, save.element, row);
}
