// Asks which of two pictures was drawn, pair by pair, and says at the end how often it was found.
(() => {
  // Wilson's interval of a share, 95 %.
  const wilson = (found, n) => {
    const z = 1.959964;
    const p = found / n;
    const middle = (p + z ** 2 / (2 * n)) / (1 + z ** 2 / n);
    const half = (z * Math.sqrt((p * (1 - p)) / n + z ** 2 / (4 * n ** 2))) / (1 + z ** 2 / n);
    return [middle - half, middle + half];
  };
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  const setUp = (figure) => {
    const pairs = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const grid = figure.querySelector(".tigerdiff-grid");
    const cells = [...grid.children];
    const status = figure.querySelector(".tigerdiff-readout > span");
    const question = status.textContent;
    const bar = document.createElement("div");
    bar.className = "tigerdiff-controls tigerdiff-choice";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", question);
    bar.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own key bindings stay out
    const [left, right, again] = ["Left", "Right", "Start again"].map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      return button;
    });
    bar.append(left, right, again);
    grid.after(bar);
    let missed = [];
    let at = 0;

    const fill = (cell, pair, side, title) => {
      const img = cell.querySelector("img");
      img.src = pair.uris[side];
      img.alt = `${title}: ${pair.alts[side]}`;
      cell.querySelector(".tigerdiff-title").textContent = title;
    };
    const show = () => {
      const ended = at === pairs.length;
      [left, right].forEach((button) => { button.hidden = ended; });
      again.hidden = !ended;
      if (!ended) {
        cells.forEach((cell, side) => fill(cell, pairs[at], side, ["left", "right"][side]));
        status.textContent = `Pair ${at + 1} of ${pairs.length}. ${question}`;
        return;
      }
      const found = pairs.length - missed.length;
      const [low, high] = wilson(found, pairs.length);
      const verdict = low > 0.5 ? "It lies above 50 %: you can tell them apart."
        : high < 0.5 ? "It lies below 50 %: you see a difference, and take it for the opposite."
          : "It holds 50 %, which guessing gives: this does not show that you can tell them apart.";
      status.textContent = `You found the drawn one in ${found} of ${pairs.length} pairs: `
        + `${percent(found / pairs.length)}, 95 % interval ${percent(low)} to ${percent(high)}. ${verdict}`
        + (missed.length ? " Above: the pairs that you missed." : "");
      grid.replaceChildren(...missed.flatMap((k) => [0, 1].map((side) => {
        const cell = cells[side].cloneNode(true);
        fill(cell, pairs[k], side, `pair ${k + 1}, ${side === pairs[k].drawn ? "drawn" : "painted"}`);
        return cell;
      })));
      again.focus();
    };
    const answer = (side) => {
      if (side !== pairs[at].drawn) missed.push(at);
      at += 1;
      show();
    };
    const restart = () => {
      missed = [];
      at = 0;
      grid.replaceChildren(...cells);
      show();
    };
    left.addEventListener("click", () => answer(0));
    right.addEventListener("click", () => answer(1));
    again.addEventListener("click", () => { restart(); left.focus(); });
    bar.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === " " || event.key === "Enter") event.stopPropagation();
      const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
      if (side === undefined || at === pairs.length) return;
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat) answer(side);
    });
    restart();
  };

  for (const figure of document.querySelectorAll("[data-tigerdiff-choice]:not([data-ready])")) {
    figure.setAttribute("data-ready", "");
    setUp(figure);
  }
})();
