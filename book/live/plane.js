// The playground in two dimensions: dots to learn, the loss and the score while it learns, samples.

const SHAPES = {
  ring: () => Array.from({ length: 200 }, (_, k) => [0.7 * Math.cos(k), 0.7 * Math.sin(k)]),
  "two moons": () => Array.from({ length: 200 }, (_, k) => {
    const angle = (Math.PI * k) / 200;
    return k % 2 ? [0.55 * Math.cos(angle) - 0.25, 0.6 * Math.sin(angle) - 0.2] : [0.25 - 0.55 * Math.cos(angle), 0.2 - 0.6 * Math.sin(angle)];
  }),
  spiral: () => Array.from({ length: 300 }, (_, k) => [0.15 + k / 450, k / 25].reduce((r, angle) => [r * Math.cos(angle), r * Math.sin(angle)])),
  "five dots": () => Array.from({ length: 5 }, (_, k) => [0.7 * Math.sin((2 * Math.PI * k) / 5), 0.7 * Math.cos((2 * Math.PI * k) / 5)]),
  "nothing: draw your own": () => [],
};
const SPAN = 1.25; // the plane is shown from -SPAN to SPAN

// A colour of live.css, which has one for each theme.
const colour = (target, name) => getComputedStyle(target).getPropertyValue(`--${name}`);

function blank(target) {
  const context = target.getContext("2d");
  context.fillStyle = colour(target, "paper");
  context.fillRect(0, 0, target.width, target.height);
  return context;
}

function dots(context, points, name, radius) {
  const side = context.canvas.width;
  context.fillStyle = colour(context.canvas, name);
  for (const [x, y] of points) {
    context.beginPath();
    context.arc((x / SPAN + 1) * (side / 2), (1 - y / SPAN) * (side / 2), radius, 0, 7);
    context.fill();
  }
}

// An arrow of the score at each point of a grid; the longest has the length of the grid's step.
function arrows(context, network, t) {
  const side = context.canvas.width;
  const ticks = Array.from({ length: 15 }, (_, k) => ((k - 7) / 7) * 1.15);
  const grid = Float64Array.from(ticks.flatMap((y) => ticks.flatMap((x) => [x, y])));
  const score = network.score(grid, t);
  const scale = 0.16 / Math.max(...Array.from({ length: grid.length / 2 }, (_, i) => Math.hypot(score[2 * i], score[2 * i + 1])));
  const place = (x, y) => [(x / SPAN + 1) * (side / 2), (1 - y / SPAN) * (side / 2)];
  context.strokeStyle = colour(context.canvas, "arrow");
  context.lineWidth = 1.5;
  for (let i = 0; i < grid.length; i += 2) {
    const [dx, dy] = [scale * score[i], scale * score[i + 1]];
    const [from, tip] = [place(grid[i], grid[i + 1]), place(grid[i] + dx, grid[i + 1] + dy)];
    const side1 = place(grid[i] + 0.7 * dx - 0.2 * dy, grid[i + 1] + 0.7 * dy + 0.2 * dx);
    const side2 = place(grid[i] + 0.7 * dx + 0.2 * dy, grid[i + 1] + 0.7 * dy - 0.2 * dx);
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...tip);
    context.lineTo(...side1);
    context.moveTo(...tip);
    context.lineTo(...side2);
    context.stroke();
  }
}

// The loss of each update, smoothed; logarithmic, from 2 (the network answers 0) down to 0.1.
function curve(target, losses) {
  const context = blank(target);
  const [width, height] = [target.width, target.height];
  const place = (loss) => 4 + (height - 8) * (Math.log(2 / Math.max(loss, 0.1)) / Math.log(20));
  context.strokeStyle = colour(target, "accent");
  context.lineWidth = 2;
  context.beginPath();
  losses.forEach((loss, k) => context.lineTo((width * k) / Math.max(1, losses.length - 1), place(Math.min(2, loss))));
  context.stroke();
}

// Let the reader put points into a field, with the mouse, a finger or the keyboard; put(point) keeps
// one and returns how many there are. show(cross) draws the field, with the keyboard's cross or null.
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
function takePoints(target, put, show, tell) {
  let [drawing, cross] = [false, [0, 0]];
  const add = (event) => {
    if (!drawing || event.buttons === 0) return; // a menu may have taken the button's release
    const box = target.getBoundingClientRect();
    const point = [(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height];
    if (point.some((x) => Math.abs(x) > 1)) return; // outside the field
    put(point.map((x) => x * SPAN));
    show(null);
  };
  target.style.cursor = "crosshair";
  target.style.touchAction = "none"; // a finger draws and does not scroll
  target.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.ctrlKey) return; // it opens a menu
    drawing = true;
    target.setPointerCapture(event.pointerId);
    add(event);
  });
  target.addEventListener("pointermove", add);
  target.addEventListener("pointerup", () => (drawing = false));
  target.addEventListener("pointercancel", () => (drawing = false));

  target.tabIndex = 0;
  target.setAttribute("role", "application"); // the arrow keys are the field's, also with a screen reader
  target.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (move) cross = cross.map((x, c) => Math.min(1.2, Math.max(-1.2, x + 0.1 * move[c])));
    const place = `(${cross.map((x) => x.toFixed(1)).join(", ")})`;
    tell(move ? `Cross at ${place}.` : `Point ${put([...cross])} at ${place}.`);
    show(cross);
  });
  target.addEventListener("focus", () => target.matches(":focus-visible") && show(cross));
  target.addEventListener("blur", () => show(null));
}

function mountPlane(root) {
  const SIDE = 420;
  const [left, right] = [canvas(SIDE, "the points to learn: arrow keys move a cross, Enter puts a point"), canvas(SIDE, "")];
  const losses = make("canvas", { width: SIDE, height: 120, role: "img" });
  const caption = make("figcaption");
  const shape = choice("Points", Object.keys(SHAPES).map((name) => [name, name]), "two moons");
  const time = slider("t of the arrows", 20, 1, 100, 1);
  const steps = slider("Steps", 50, 1, 100, 1);
  const noise = make("input", { type: "checkbox", checked: true });
  const [learning, sampled] = [progress(), progress()];
  let [cross, points, network, samples, smooth, history, training, frame, draws, sampling, every] = [null, [], null, [], 2, [], false, 0, 1, 0, 10];

  const draw = () => {
    dots(blank(left), points, "ink", 3);
    if (network.updates() > 0) arrows(left.getContext("2d"), network, time.value());
    if (cross) dots(left.getContext("2d"), [-2, -1, 0, 1, 2].flatMap((k) => [[cross[0] + 0.03 * k, cross[1]], [cross[0], cross[1] + 0.03 * k]]), "accent", 2);
    dots(blank(right), points, "pale", 3);
    dots(right.getContext("2d"), samples, "accent", 2.5);
  };
  const plot = () => {
    caption.textContent = network.updates() ? `loss after ${network.updates()} updates: ${smooth.toFixed(2)}` : "loss, not trained yet";
    losses.setAttribute("aria-label", caption.textContent);
    curve(losses, history);
    draw();
  };
  new MutationObserver(plot).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const forget = () => {
    sampling += 1;
    [network, samples, smooth, history, every] = [pointNetwork(1), [], 2, [], 10];
    right.setAttribute("aria-label", "samples: none yet");
    sampled.tell("");
    if (!training) learning.tell("");
    plot();
  };
  const learn = () => {
    if (!root.isConnected) return;
    const until = performance.now() + 12; // the rest of the frame is the page's
    while (performance.now() < until) {
      smooth = 0.98 * smooth + 0.02 * network.train(points);
      if (network.updates() % every === 0) history.push(smooth);
    }
    if (history.length > 1000) [history, every] = [history.filter((_, k) => k % 2 === 1), 2 * every];
    plot();
    frame = requestAnimationFrame(learn);
  };
  const pause = () => {
    training = false;
    go.textContent = "Train";
    cancelAnimationFrame(frame);
  };
  const go = button("Train", () => {
    if (points.length === 0) return learning.tell("There is no point to learn: draw some into the field, or choose a shape.");
    if (training) return pause(), learning.tell(`Paused after ${network.updates()} updates, loss ${smooth.toFixed(2)}.`);
    training = true;
    go.textContent = "Pause";
    learning.tell("The network learns to predict the noise.");
    frame = requestAnimationFrame(learn);
  }, { class: "live-main" });
  const sample = button("Sample 300 points", async () => {
    if (network.updates() === 0) return sampled.tell("Train the network first: it answers at random.");
    const [n, noisy] = [steps.value(), noise.checked];
    const randn = normal(draws++); // new noise each time
    const z = noisy ? randn : (count) => new Float32Array(count);
    const xT = Float64Array.from(randn(600));
    const mine = ++sampling; // a second press, or a new network, ends the first
    for await (const { t, xt } of ddpm(network.model, network.alpha_bar, xT, { steps: n, randn: z, clip: SPAN })) {
      if (mine !== sampling) return;
      samples = Array.from({ length: 300 }, (_, i) => [xt[2 * i], xt[2 * i + 1]]);
      right.setAttribute("aria-label", `300 samples in orange at t = ${t}, the points to learn in grey`);
      if (t === 0 || !still()) draw();
      if (!document.hidden) await new Promise((resolve) => setTimeout(resolve, still() ? 0 : 15));
    }
    sampled.tell(`300 points in ${n} step${n > 1 ? "s" : ""}, ${noisy ? "with" : "without"} the noise σₜ z.`);
  });
  const restart = button("Forget and start again", forget);
  const choose = () => {
    points = SHAPES[shape.value()]();
    forget(); // which draws, with the colours that the elements have in the page
    turn(remove, false);
    if (points.length > 0) return;
    pause();
    learning.tell("Draw points into the field with the mouse or a finger. On the keyboard, the arrow keys move a cross there and Enter puts a point.");
  };
  const remove = button("Remove my points", choose, { off: true });
  shape.control.addEventListener("change", choose);
  takePoints(left, (point) => (turn(remove, true), points.push(point)), (at) => ((cross = at), draw()), learning.tell);
  time.control.addEventListener("input", draw);

  const withNoise = make("label", { class: "live-field" }, noise, make("span", {}, "add the noise σₜ z"));
  root.append(make("div", { class: "live-pictures live-plane" },
    make("div", {}, shape.element, figure(left, "points to learn (draw more), and arrows of the score"), time.element,
      make("div", { class: "live-buttons" }, go, restart, remove), ...learning.elements, make("figure", {}, losses, caption)),
    make("div", {}, steps.element, figure(right, "samples in orange, the points to learn in grey"), withNoise,
      make("div", { class: "live-buttons" }, sample), ...sampled.elements)));
  choose();
}
