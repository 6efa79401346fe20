// "Three samplers": the same noise, drawn with each, and drawn again with other steps below.

// One sampler's picture as run wants it: painted while it forms, its frames kept for the slider.
function panel(size, name) {
  const target = canvas(size, `${name}: not drawn yet`);
  const caption = make("figcaption", {}, name);
  const view = { frames: [], element: make("figure", {}, target, caption) };
  const show = (k) => {
    if (!view.frames[k]) return;
    paint(target, view.frames[k].x0);
    target.setAttribute("aria-label", `${caption.textContent}, predicted clean picture at t = ${view.frames[k].t}`);
  };
  return Object.assign(view, {
    show,
    begin: (steps, what) => ((view.frames = []), (caption.textContent = what)),
    add: (step) => (view.frames.push(step), show(view.frames.length - 1)),
    end: () => {},
  });
}

function mountCompare(root) {
  const model = pixelModels()[0];
  const size = model?.shape[1] ?? 64;
  const steps = number("Steps", 10, 1, 100);
  const eta = slider("η, noise of DDIM", 0, 0, 1, 0.1, (x) => x.toFixed(1));
  const seed = seedField();
  const samplers = ["ddpm", "ddim", "dpm_solver"];
  const report = progress(() => model);
  const scrub = slider("Look back", 0, 0, 0, 1, () => "");
  scrub.show(false);
  const rows = make("div", { class: "live-rows" });
  const newRow = () => {
    const views = samplers.map((sampler) => panel(size, NAMES[sampler]));
    rows.append(make("div", { class: "live-pictures live-three" }, ...views.map(({ element }) => element)));
    return views;
  };
  let [views, drawn] = [newRow(), 0];
  const look = () => {
    const k = Number(scrub.control.value);
    views.forEach(({ show }) => show(k));
    const place = `step ${k} of ${views[0].frames.length - 1}, t = ${views[0].frames[k].t}${k ? "" : ": the first guess, the same for all three"}`;
    scrub.element.querySelector("output").textContent = place;
    scrub.control.setAttribute("aria-valuetext", place);
  };
  scrub.control.addEventListener("input", look);

  const draw = async (keep) => {
    try {
      if (!model) throw new Failure(SENTENCES.missing);
      checkNumbers(steps, seed);
      if (keep) seed.control.value = drawn;
      const shared = { model, steps: steps.value(), eta: eta.value(), seed: seed.value() };
      if (keep && rows.children.length === 2) rows.lastChild.remove(); // the first row stays
      if (!keep) rows.replaceChildren();
      views = newRow();
      scrub.show(false);
      turn(again, false);
      for (const [k, sampler] of samplers.entries()) {
        const request = { ...shared, sampler };
        const what = samplerWords(request);
        if (!(await run({ request, view: views[k], what, report, start: [go, again], stop }))) return turn(again, keep);
      }
      drawn = shared.seed;
      scrub.control.max = shared.steps; // first, as it bounds the value
      scrub.control.value = shared.steps;
      scrub.show(true);
      look();
      report.tell(`Done: three pictures from the noise of seed ${drawn}${keep ? ", below the first three" : ""}.`);
    } catch (error) {
      report.tell(sentence(error));
    }
  };
  const go = button("Draw with all three", () => draw(false), { class: "live-main" });
  const again = button("Again with the same noise", () => draw(true), { off: true });
  const stop = stopButton();
  root.append(
    make("div", { class: "live-fields" }, steps.element, eta.element, seed.element),
    make("div", { class: "live-buttons" }, go, again, stop), ...report.elements, rows, scrub.element);
}
