// Makes every figure on the page that is still a plain picture move. Runs once for each figure and
// uses no ids, so that equal figures on a page do not clash.
(() => {
  const PLAY = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M8 5v14l11-7z"/></svg>';
  const PAUSE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 5h4v14H7zM13 5h4v14h-4z"/></svg>';
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // A range input; notebook front-ends and themes bind the arrow keys themselves, so it handles them.
  const makeRange = (label, last, step, move) => {
    const range = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": label });
    range.addEventListener("input", () => move(Number(range.value)));
    range.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const at = Number(range.value);
      const page = Math.max(2 * step, Math.round(last / 10));
      const target = {
        ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
        PageDown: at - page, PageUp: at + page, Home: 0, End: last,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      move(Math.min(last, Math.max(0, target)));
    });
    return range;
  };

  const setUp = (figure) => {
    const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const grid = figure.querySelector(".tigerdiff-grid");
    const readout = figure.querySelector(".tigerdiff-readout > span");
    const cells = [...grid.querySelectorAll(".tigerdiff-cell")];
    const last = data.frames.length - 1;
    const bars = [];
    let index = data.start;
    let timer = null;

    // All pictures of a cell are in the page, one of them visible: moving never waits for decoding.
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
        img.classList.toggle("tigerdiff-pixels", data.pixelated.includes(frame[j]));
        stack.set(frame[j], img);
        cell.insertBefore(img, shown[j]);
      }
      return stack;
    });

    let range = null;
    const show = (position) => {
      index = Math.min(last, Math.max(0, position));
      const words = data.readouts[index];
      stacks.forEach((stack, j) => {
        for (const [id, img] of stack) img.hidden = id !== data.frames[index][j];
        stack.get(data.frames[index][j]).alt = [data.alts[j], ...words.slice(0, 1)].join(", ");
      });
      if (!range) return;
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
    const move = (position) => { play(false); show(position); };
    if (last > 0) {
      range = makeRange(data.label, last, 1, move);
      const controls = make("div", { class: "tigerdiff-controls" }, button, range);
      const width = grid.style.getPropertyValue("--w");
      const alone = data.kind === "wipe" || grid.style.getPropertyValue("--n") === "1";
      if (alone) controls.style.maxWidth = `max(15rem, ${width})`; // as wide as its picture
      grid.after(controls);
      bars.push(controls);
      play(false);
      show(index);

      // On paper: four of the frames, each with its value. A picture that is there twice is copied.
      const four = [...new Set([0, 1, 2, 3].map((k) => Math.round((k * last) / 3)))];
      cells.forEach((cell, j) => four.forEach((frame, k) => {
        let img = stacks[j].get(data.frames[frame][j]);
        if (img.dataset.print) {
          img = cell.insertBefore(img.cloneNode(), img);
          img.hidden = true;
        }
        img.dataset.print = k;
        img.style.order = k;
      }));
      const values = four.map((frame) => make("span", {}, data.readouts[frame].join(" · ")));
      grid.after(make("div", { class: "tigerdiff-printed" }, ...values));
    }

    // The picture itself is a handle: of the divider between two pictures, else of the value.
    let divide = null;
    if (data.kind === "wipe") {
      const [left, right] = data.choices;
      const divider = makeRange(`Divider between ${left} and ${right}`, 100, 5, (at) => divide(at));
      divide = (at) => {
        const rounded = Math.round(Math.min(100, Math.max(0, at)));
        grid.style.setProperty("--at", `${rounded}%`);
        divider.value = rounded;
        divider.setAttribute("aria-valuetext", `${rounded} % ${left}, ${100 - rounded} % ${right}`);
      };
      const edge = make("div", { class: "tigerdiff-edge" });
      edge.style.aspectRatio = `${shown[0].getAttribute("width")} / ${shown[0].getAttribute("height")}`;
      grid.classList.add("tigerdiff-wipe");
      grid.append(edge);
      const bar = make("div", { class: "tigerdiff-controls" }, divider);
      bar.style.maxWidth = grid.style.getPropertyValue("--w");
      grid.after(bar);
      bars.push(bar);
      divide(50);
    }
    let grip = null;
    const drag = (event) => {
      if (!grip) return;
      const box = grid.getBoundingClientRect();
      const cell = cells.find((each) => !each.hidden).getBoundingClientRect();
      if (divide) divide((100 * (event.clientX - cell.left)) / cell.width);
      else move(grip.index + Math.round((last * (event.clientX - grip.x)) / (0.8 * box.width)));
    };
    grid.classList.add("tigerdiff-handle");
    grid.addEventListener("dragstart", (event) => event.preventDefault());
    grid.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      grid.setPointerCapture(event.pointerId);
      grip = { x: event.clientX, index };
      if (divide) drag(event);
    });
    grid.addEventListener("pointermove", drag);
    for (const end of ["pointerup", "pointercancel"]) grid.addEventListener(end, () => { grip = null; });

    const replay = () => {
      if (!still.matches) { show(0); play(true); }
    };
    if (data.kind === "choose" || data.kind === "player") {
      const player = data.kind === "player";
      const names = player ? data.choices : [data.choices.length === 2 ? "both" : "all", ...data.choices];
      const buttons = names.map((name) => make("button", { type: "button" }, name));
      const choose = (chosen) => {
        buttons.forEach((each, k) => each.setAttribute("aria-pressed", String(k === chosen)));
        const alone = player ? chosen : chosen - 1;
        cells.forEach((cell, j) => { cell.hidden = alone >= 0 && alone !== j; });
      };
      buttons.forEach((each, k) => each.addEventListener("click", () => {
        choose(k);
        if (player) replay();
      }));
      choose(0);
      const bar = make("div", { class: "tigerdiff-controls tigerdiff-choice", role: "group", "aria-label": "Show" }, ...buttons);
      if (player) figure.querySelector(".tigerdiff-controls").after(bar);
      else grid.before(bar);
      bars.push(bar);
      if (player) { // it plays once, when it is first seen
        new IntersectionObserver((seen, observer) => {
          if (!seen.some((each) => each.isIntersecting)) return;
          observer.disconnect();
          if (index === data.start && timer === null) replay();
        }, { threshold: 0.5 }).observe(grid);
      }
    }
    for (const bar of bars) {
      bar.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own key bindings stay out
      bar.addEventListener("keydown", (event) => {
        if (event.key === " " || event.key === "Enter") event.stopPropagation();
      });
    }
  };

  for (const figure of document.querySelectorAll("[data-tigerdiff-slider]:not([data-ready])")) {
    figure.setAttribute("data-ready", "");
    setUp(figure);
  }
})();
