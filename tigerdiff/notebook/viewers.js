// Brings every slider on the page that is still a plain picture to life. Runs once per slider, finds
// only those that nobody has set up yet, and uses no ids: equal sliders on a page do not clash.
(() => {
  const PLAY = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5v14l11-7z"/></svg>';
  const PAUSE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 5h4v14H7zM13 5h4v14h-4z"/></svg>';

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const setUp = (figure) => {
    const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const grid = figure.querySelector(".tigerdiff-grid");
    const readout = figure.querySelector(".tigerdiff-readout > span");
    const cells = [...grid.querySelectorAll(".tigerdiff-cell")];
    const last = data.frames.length - 1;
    let index = data.start;
    let timer = null;

    // All pictures of a cell lie in the page, one of them visible: moving never waits for decoding.
    // The page holds those of the first frame already, so the data leaves them out.
    const shown = cells.map((cell) => cell.querySelector("img"));
    const uris = data.pictures.slice();
    data.frames[data.start].forEach((id, j) => { uris[id] = shown[j].src; });
    const stacks = cells.map((cell, j) => {
      const stack = new Map([[data.frames[data.start][j], shown[j]]]);
      for (const frame of data.frames) {
        if (stack.has(frame[j])) continue;
        const img = shown[j].cloneNode();
        img.hidden = true;
        img.src = uris[frame[j]];
        stack.set(frame[j], img);
        cell.insertBefore(img, shown[j]);
      }
      return stack;
    });

    const range = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": data.label });
    const show = (position) => {
      index = Math.min(last, Math.max(0, position));
      const words = data.readouts[index];
      stacks.forEach((stack, j) => {
        for (const [id, img] of stack) img.hidden = id !== data.frames[index][j];
        stack.get(data.frames[index][j]).alt = `${data.alts[j]}, ${words[0]}`;
      });
      readout.textContent = words.join(" · ");
      range.value = index;
      range.setAttribute("aria-valuetext", words.join(", "));
    };

    const button = make("button", { type: "button", class: "tigerdiff-play", "aria-label": "Play", "aria-pressed": "false" });
    const play = (on) => {
      clearInterval(timer);
      timer = on ? setInterval(() => (index < last ? show(index + 1) : play(false)), data.interval) : null;
      button.setAttribute("aria-pressed", String(on));
      button.innerHTML = on ? PAUSE : PLAY;
    };
    button.addEventListener("click", () => {
      const on = timer === null;
      if (on) show(index < last ? index + 1 : 0);
      play(on);
    });

    range.addEventListener("input", () => { play(false); show(Number(range.value)); });
    // Notebook front-ends and themes bind the arrow keys themselves, so they are handled here.
    range.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const page = Math.max(2, Math.round(last / 10));
      const target = {
        ArrowLeft: index - 1, ArrowDown: index - 1, ArrowRight: index + 1, ArrowUp: index + 1,
        PageDown: index - page, PageUp: index + page, Home: 0, End: last,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      play(false);
      show(target);
    });

    const controls = make("div", { class: "tigerdiff-controls" }, button, range);
    grid.after(controls);
    const bars = [controls];
    if (data.choices) {
      const all = data.choices.length === 2 ? "both" : "all";
      const buttons = [all, ...data.choices].map((name) => make("button", { type: "button" }, name));
      const choose = (chosen) => {
        buttons.forEach((each, k) => each.setAttribute("aria-pressed", String(k === chosen)));
        cells.forEach((cell, j) => { cell.hidden = chosen > 0 && chosen !== j + 1; });
      };
      buttons.forEach((each, k) => each.addEventListener("click", () => choose(k)));
      choose(0);
      const bar = make("div", { class: "tigerdiff-controls tigerdiff-choice", role: "group", "aria-label": "Show" }, ...buttons);
      grid.before(bar);
      bars.push(bar);
    }
    for (const bar of bars) {
      bar.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own key bindings stay out
      bar.addEventListener("keydown", (event) => {
        if (event.key === " " || event.key === "Enter") event.stopPropagation();
      });
    }
    play(false);
    show(index);
  };

  for (const figure of document.querySelectorAll("[data-tigerdiff-slider]:not([data-ready])")) {
    figure.setAttribute("data-ready", "");
    setUp(figure);
  }
})();
