// "From noise": seed, sampler, steps and attributes; the path while it is computed, and after.

const pixelModels = () => MANIFEST.models.filter(({ parts }) => !parts.includes("decoder"));

// What was asked for, as the reader sees it.
const conditionWords = ({ model, condition = [], guidance_scale }) => {
  const words = condition.flatMap((k, place) => (k < 0 ? [] : [model.conditions[place].values[k]])).join(" ");
  return words && model.guidance_scale > 1 ? `${words}, guidance ${guidance_scale}` : words;
};

// Menus for the attributes of a conditional model, and the guidance scale; nothing for others. They
// begin with what the reader chose in those before.
function conditionFields(model, before) {
  const menus = (model.conditions ?? []).map(({ name, values }) =>
    choice(name[0].toUpperCase() + name.slice(1), [["-1", "any"], ...values.map((value, k) => [String(k), value])], before?.chosen?.[name] ?? "-1"));
  if (menus.length === 0) return { elements: [], ...before, read: () => ({}) };
  const scale = slider("Guidance scale", (model.guidance_scale > 1 && before?.scale) || model.guidance_scale, 1, 6, 0.5, (x) => x.toFixed(1));
  scale.show(model.guidance_scale > 1); // a network that draws in a few steps is asked once in each
  const idle = make("p", {}, "The guidance scale has an effect when you choose an attribute.");
  const asked = () => menus.some((menu) => menu.value() !== "-1");
  const weigh = () => (idle.hidden = asked() || model.guidance_scale === 1);
  for (const { control } of menus) control.addEventListener("change", weigh);
  weigh();
  return {
    elements: [...menus.map(({ element }) => element), scale.element, idle],
    get chosen() {
      return Object.fromEntries(menus.map((menu, place) => [model.conditions[place].name, menu.value()]));
    },
    get scale() {
      return model.guidance_scale > 1 ? scale.value() : before?.scale;
    },
    // If nothing is asked for, one call of the network in each step is enough.
    read: () => ({ condition: menus.map((menu) => Number(menu.value())), guidance_scale: asked() ? scale.value() : 1 }),
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
    const before = condition && { chosen: condition.chosen, scale: condition.scale };
    condition = conditionFields((!network && model()) || {}, before); // a chapter's own network is not asked
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
  const save = downloads(view, () => ["tiger", ...conditionWords(drawn).match(/[\w.]+/g) ?? [], fileWords(drawn)].join("-"), report.tell);
  let [drawn, before] = [null, null]; // what is seen, once it is whole; and what is seen beside it
  const sameNoise = () => (drawn ?? before?.request)?.model.shape[1] === model().shape[1]; // another size takes other noise

  const draw = async (keep) => {
    try {
      if (!model()) throw new Failure(SENTENCES.missing);
      const request = { model: model(), ...fields.read(), ...condition.read() };
      if (!keep) before = null;
      else if (drawn) before = { request: drawn, what: view.what, x0: view.frames.at(-1).x0 };
      if (before) {
        paint(kept, before.x0);
        const said = before.request.model === model() ? before.what : `${before.request.model.title}; ${before.what}`;
        first.querySelector("figcaption").textContent = `first: ${said}`;
        kept.setAttribute("aria-label", `The first picture: ${said}`);
        fields.seed.control.value = request.seed = before.request.seed;
      }
      first.hidden = !before;
      const what = [conditionWords(request), fields.words(request)].filter(Boolean).join(", ");
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
