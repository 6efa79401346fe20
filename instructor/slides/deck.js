// Sets the formulas, fits each figure into the room that its slide leaves, and starts reveal.js.
(() => {
  const LARGEST = 1.9; // a figure of the book is enlarged up to this factor

  // A figure of the page wants the width of its row of pictures; tables and code as much as they need.
  const naturalWidth = (inner) => {
    const grid = inner.querySelector(".tigerdiff-grid");
    if (!grid) return "max-content";
    grid.style.setProperty("--min", "1rem"); // the row stays a row; it is made smaller as a whole
    const style = getComputedStyle(grid);
    const wipe = grid.matches(".tigerdiff-wipe") && window.matchMedia("screen").matches;
    const columns = wipe ? 1 : Number(style.getPropertyValue("--n"));
    const width = parseFloat(style.getPropertyValue("--w"));
    return `${Math.max(columns * width + (columns - 1) * 12, 430)}px`;
  };
  const zoomTo = (inner, room, largest) => {
    const factor = Math.min(largest, room.width / inner.offsetWidth, room.height / inner.offsetHeight);
    inner.style.zoom = factor;
    inner.dataset.zoom = factor.toFixed(2);
  };
  const fit = () => {
    for (const each of document.querySelectorAll(".equation mjx-container, .column mjx-container[display]")) {
      const room = each.parentElement.clientWidth;
      if (each.scrollWidth > room) each.style.fontSize = `${100 * room / each.scrollWidth}%`;
    }
    const boxes = [...document.querySelectorAll(".fit")];
    for (const box of boxes) box.firstElementChild.style.width = naturalWidth(box.firstElementChild);
    const rooms = boxes.map((box) => ({ width: box.clientWidth, height: box.clientHeight }));
    boxes.forEach((box, k) => {
      const inner = box.firstElementChild;
      zoomTo(inner, rooms[k], inner.matches("pre") ? 1.3 : LARGEST);
    });
  };

  // Arrow keys move a slider that has the focus (its own script sees to that). The mouse leaves no
  // focus behind, Escape gives it back, and a presenter's remote control (page keys) always turns pages.
  const inFigure = () => document.activeElement?.closest(".tigerdiff");
  const listen = () => {
    document.addEventListener("keydown", (event) => {
      const turn = { PageDown: "next", PageUp: "prev" }[event.key];
      if (turn) Reveal[turn]();
      else if (event.key === "Escape" && inFigure()) document.activeElement.blur();
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, true);
    document.addEventListener("pointerup", () => { if (inFigure()) document.activeElement.blur(); });
    for (const each of document.querySelectorAll(".tigerdiff")) each.setAttribute("data-prevent-swipe", "");
  };

  const paper = location.search === "?print"; // one page for each slide, without reveal.js
  const start = async () => {
    if (paper) document.querySelector("link[href$='reveal.css']").remove();
    await MathJax.startup.promise;
    await MathJax.typesetPromise([document.querySelector(".slides")]);
    await Promise.all([...document.images].map((image) => image.decode().catch(() => 0)));
    await document.fonts.ready;
    fit();
    if (paper) return;
    document.documentElement.classList.add("presented");
    listen();
    await Reveal.initialize({
      width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
      controlsTutorial: false, plugins: [RevealNotes],
    });
  };
  window.tigerdiffSlides = start();
})();
