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
    const options = { resizeWidth: size, resizeHeight: size, resizeQuality: "high" };
    const small = await createImageBitmap(picture, (width - side) / 2, (height - side) / 2, side, side, options);
    const context = canvas(size, "").getContext("2d");
    context.fillStyle = "#fff"; // behind what is transparent
    context.fillRect(0, 0, size, size);
    context.drawImage(small, 0, 0);
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
  const centred = (x) => x.map((value) => value - x.reduce((sum, each) => sum + each, 0) / x.length);
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const [x, y] = [centred(Float64Array.from(a)), centred(Float64Array.from(b))];
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y) || 1);
}

function mountPhoto(root) {
  const model = pixelModels().find(({ conditions = [] }) => conditions.length === 0) ?? pixelModels()[0];
  const size = model?.shape[1] ?? 64;
  const alpha_bar = cosine(model?.T ?? 1000);
  const T = alpha_bar.length - 1;
  const fields = samplerFields(model);
  const file = make("input", { type: "file", accept: "image/*" });
  const choose = make("label", { class: "live-drop" }, make("span", {}, "Choose a photo, or drop one here. It stays in your browser."), file);
  const strength = slider("Strength", 0.7, 0.05, 1, 0.05, (x) => `${Math.round(100 * x)} %`);
  const start = () => Math.round(T * strength.value());
  const own = canvas(size, "your picture, not chosen yet");
  const view = trajectory(size);
  view.pictures.prepend(figure(own, `your picture at ${size} pixels`));
  const report = progress(model, "Choose a photo first. ");
  const row = make("div", { class: "live-pictures" });
  let [x0, name] = [null, "picture"];
  const save = downloads(view, () => `${name}-as-tiger`, report.tell);

  const preview = () => {
    if (!x0 || !isOff(stop)) return; // while it draws, the pictures are the drawing's
    paint(own, to_rgba(x0));
    own.setAttribute("aria-label", `your picture at ${size} pixels`);
    view.begin(1, "");
    save.show(false);
    clear(view.right); // what was drawn from another noise
    view.right.setAttribute("aria-label", "not drawn yet");
    const noisy = add_noise(alpha_bar, x0, start(), normal(fields.seed.value())(x0.length));
    paint(view.left, to_rgba(noisy));
    view.left.setAttribute("aria-label", `your picture with noise, t = ${start()}`);
  };
  const open = async (chosen) => {
    if (!chosen) return;
    try {
      const opened = await readPhoto(chosen, size);
      stop.click(); // a drawing from the picture before
      await running;
      x0 = opened;
      name = chosen.name.replace(/\.[^.]*$/, "");
      report.tell(`${chosen.name} is ready. Set the strength of the noise, then let the model draw.`);
      for (const each of [go, four]) turn(each, true);
      preview();
    } catch (error) {
      report.tell(sentence(error));
    }
  };
  file.addEventListener("change", () => open(file.files[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => (event.preventDefault(), open(event.dataTransfer.files[0])));
  strength.control.addEventListener("input", preview);
  fields.seed.control.addEventListener("input", preview);

  const draw = async (from) => {
    if (!model) throw new Failure(SENTENCES.missing);
    const settings = fields.read();
    const request = { model, ...settings, steps: Math.min(settings.steps, from), x0, start: from };
    const what = `from t = ${from} of ${T}, ${fields.words(request)}`;
    const whole = await run({ request, view, what, report, start: [go, four], stop });
    save.show(whole);
    if (!whole) return false;
    const drawn = from_rgba(view.frames.at(-1).x0);
    const like = likeness(drawn, request.x0).toFixed(2);
    report.tell(`${report.text()} Likeness to your picture: ${like}.`);
    return { drawn, like };
  };
  let running = Promise.resolve();
  const guarded = (action) => () => (running = action().catch((error) => report.tell(sentence(error))));
  const compare = async () => {
    row.replaceChildren();
    for (const share of [0.3, 0.5, 0.7, 0.9]) {
      const result = await draw(Math.round(T * share));
      if (!result) return;
      const caption = `strength ${Math.round(100 * share)} %, likeness ${result.like}`;
      const target = canvas(size, caption);
      paint(target, to_rgba(result.drawn));
      row.append(figure(target, caption));
    }
  };
  const go = button("Let the model draw from here", guarded(() => draw(start())), { class: "live-main", off: true });
  const four = button("Compare four strengths", guarded(compare), { off: true });
  const stop = stopButton();
  root.append(choose, make("div", { class: "live-fields" }, strength.element, ...fields.elements),
    make("div", { class: "live-buttons" }, go, four, stop), ...report.elements, view.element, save.element, row);
}
