// "From noise": seed, sampler, steps and attributes; the path while it is computed, and after.

const pixelModels = () => MANIFEST.models.filter(({ parts }) => !parts.includes("decoder"));

// Menus for the attributes of a conditional model, and the guidance scale; nothing for others.
function conditionFields(model) {
  const menus = (model.conditions ?? []).map(({ name, values }) =>
    choice(name[0].toUpperCase() + name.slice(1), [["-1", "any"], ...values.map((value, k) => [String(k), value])], "-1"));
  if (menus.length === 0) return { elements: [], read: () => ({}), words: () => "" };
  const scale = slider("Guidance scale", model.guidance_scale, 1, 6, 0.5, (x) => x.toFixed(1));
  scale.show(model.guidance_scale > 1); // a network that draws in a few steps is asked once in each
  return {
    elements: [...menus, scale].map(({ element }) => element),
    read: () => ({ condition: menus.map((menu) => Number(menu.value())), guidance_scale: scale.value() }),
    words: ({ condition }) => condition.flatMap((k, place) => (k < 0 ? [] : [model.conditions[place].values[k]])).join(" "),
  };
}

function mountNoise(root) {
  const { network, sampler, steps } = root.dataset; // what a chapter chooses
  const models = pixelModels().filter(({ name }) => !network || name === network);
  const fields = samplerFields(models[0], { ...(sampler && { sampler }), ...(steps && { steps }) });
  const which = choice("Network", models.map(({ name, title }) => [name, title]), models[0]?.name);
  which.show(models.length > 1);
  const model = () => models.find(({ name }) => name === which.value());
  const attributes = make("div", { class: "live-fields" });
  let condition = null;
  const adapt = () => {
    condition = conditionFields(model() ?? {});
    attributes.replaceChildren(...condition.elements);
    attributes.hidden = condition.elements.length === 0;
  };
  which.control.addEventListener("change", () => {
    adapt();
    fields.set(model());
    turn(again, sameNoise());
    report.renew();
  });
  adapt();

  const view = trajectory(models[0]?.shape[1] ?? 64);
  const kept = canvas(models[0]?.shape[1] ?? 64, "");
  const first = figure(kept, "");
  first.hidden = true;
  view.pictures.prepend(first);
  const report = progress(model);
  const save = downloads(view, () => `tiger-${fileWords(drawn)}`, report.tell);
  let drawn = null; // what is seen, once it is whole
  const sameNoise = () => drawn?.model.shape[1] === model().shape[1]; // another size takes other noise

  const draw = async (keep) => {
    try {
      if (!model()) throw new Failure(SENTENCES.missing);
      const request = { model: model(), ...fields.read(), ...condition.read() };
      if (keep) {
        paint(kept, view.frames.at(-1).x0);
        const before = drawn.model === model() ? view.what : `${drawn.model.title}; ${view.what}`;
        first.querySelector("figcaption").textContent = `first: ${before}`;
        kept.setAttribute("aria-label", `The first picture: ${before}`);
        fields.seed.control.value = request.seed = drawn.seed;
      }
      first.hidden = !keep;
      const what = [condition.words(request), fields.words(request)].filter(Boolean).join(", ");
      drawn = null;
      save.show(false);
      const whole = await run({ request, view, what, report, start: [go, again], stop });
      if (whole) drawn = request;
      turn(again, sameNoise());
      save.show(whole);
    } catch (error) {
      report.tell(sentence(error));
    }
  };
  const go = button("Draw a tiger", () => draw(false), { class: "live-main" });
  const again = button("Again with the same noise, beside the first", () => draw(true), { off: true });
  const stop = stopButton();
  root.append(
    make("div", { class: "live-fields" }, which.element, ...fields.elements), attributes,
    make("div", { class: "live-buttons" }, go, again, stop), ...report.elements,
    view.element, save.element);
}
