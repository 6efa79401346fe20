// From noise to image in the browser: the samplers of tigerdiff, one line for each equation.
//
// An image is a Float32Array in PyTorch's order (channel, row, column), on the scale of [-1, 1].
// alpha_bar is a Float64Array of length T + 1 with alpha_bar[0] = 1; t = 0 is the clean image. A
// model is an async function (xt, t) -> output; its property prediction says what the output means.

const { sqrt, log, expm1, cos, sin, PI } = Math;

// Noise schedule (Nichol & Dhariwal 2021, equation 17).
function cosine(T) {
  const f = (t) => cos(((t / T + 0.008) / 1.008) * (PI / 2)) ** 2;
  const alpha_bar = new Float64Array(T + 1).fill(1);
  for (let t = 1; t <= T; t++) {
    const beta = Math.min(1 - f(t) / f(t - 1), 0.999);
    alpha_bar[t] = alpha_bar[t - 1] * (1 - beta);
  }
  return alpha_bar;
}

// n + 1 evenly spaced times from T down to 0. Halves go to the even neighbour, as in Python.
function timesteps(alpha_bar, n) {
  const T = alpha_bar.length - 1;
  if (!Number.isInteger(n) || n < 1 || n > T) throw new RangeError(`steps must be a whole number between 1 and ${T} (got ${n})`);
  const even = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  return Array.from({ length: n + 1 }, (_, k) => even(2 * k <= n ? T - (T / n) * k : (T / n) * (n - k)));
}

// Uniform numbers in (0, 1) of 32 bits from a seed, the same in every browser: mulberry32.
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

// Standard normal numbers from a seed: two uniform ones make two normal ones (Box & Muller 1958).
function normal(seed) {
  const next = uniform(seed);
  return (n) => {
    const z = new Float32Array(n);
    for (let i = 0; i < n; i += 2) {
      const radius = sqrt(-2 * log(next()));
      const angle = 2 * PI * next();
      z[i] = radius * cos(angle);
      if (i + 1 < n) z[i + 1] = radius * sin(angle);
    }
    return z;
  };
}

// Weighted sum of images: mix([2, x], [-1, y]) is 2 x - y.
function mix(...terms) {
  const sum = new terms[0][1].constructor(terms[0][1].length); // float32 or float64, as the images
  for (const [weight, x] of terms) if (weight !== 0) for (let i = 0; i < sum.length; i++) sum[i] += weight * x[i];
  return sum;
}

// xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, equation 4).
function add_noise(alpha_bar, x0, t, eps) {
  return mix([sqrt(alpha_bar[t]), x0], [sqrt(1 - alpha_bar[t]), eps]);
}

// The image and the noise that a network's output implies (Salimans & Ho 2022, section 4).
function split(output, xt, signal, noise, prediction) {
  if (prediction === "eps") return [mix([1 / signal, xt], [-noise / signal, output]), output];
  if (prediction === "x0") return [output, mix([1 / noise, xt], [-signal / noise, output])];
  return [mix([signal, xt], [-noise, output]), mix([noise, xt], [signal, output])]; // "v"
}

// Ask the model for x0 and eps at time t; if x0 is clipped, eps is derived from it again. clip is
// true for images, false, or the bound itself.
async function predict(model, alpha_bar, xt, t, clip) {
  const [signal, noise] = [sqrt(alpha_bar[t]), sqrt(1 - alpha_bar[t])];
  let [x0, eps] = split(await model(xt, t), xt, signal, noise, model.prediction);
  if (clip) {
    const bound = Number(clip); // of true: 1
    x0 = x0.map((value) => Math.min(bound, Math.max(-bound, value)));
    eps = mix([1 / noise, xt], [-signal / noise, x0]);
  }
  return [x0, eps];
}

// Classifier-free guidance (Ho & Salimans 2022, equation 6): away from the output without a
// condition. A scale of 1 is the conditional model alone, which then is one call instead of two.
function guided(conditional, unconditional, guidance_scale) {
  if (guidance_scale === 1) return conditional;
  const model = async (xt, t) => {
    const [without, conditioned] = [await unconditional(xt, t), await conditional(xt, t)];
    return mix([1 - guidance_scale, without], [guidance_scale, conditioned]);
  };
  return Object.assign(model, { prediction: conditional.prediction });
}

// In the samplers, a and a_prev are alpha_bar at t and at the earlier t_prev.
const pairwise = (times) => times.slice(1).map((t_prev, k) => [times[k], t_prev]);
const last = (xt) => ({ t: 0, xt, x0: xt, eps: xt.map(() => 0) });

// Ancestral sampling: draw from the posterior (Ho et al. 2020, algorithm 2 and equation 7).
async function* ddpm(model, alpha_bar, xT, { steps, randn, clip = true }) {
  let xt = xT;
  for (const [t, t_prev] of pairwise(timesteps(alpha_bar, steps))) {
    const [x0, eps] = await predict(model, alpha_bar, xt, t, clip);
    yield { t, xt, x0, eps };
    const [a, a_prev] = [alpha_bar[t], alpha_bar[t_prev]];
    const alpha = a / a_prev;
    const mean = mix([(sqrt(a_prev) * (1 - alpha)) / (1 - a), x0], [(sqrt(alpha) * (1 - a_prev)) / (1 - a), xt]);
    const variance = ((1 - alpha) * (1 - a_prev)) / (1 - a);
    xt = variance > 0 ? mix([1, mean], [sqrt(variance), randn(xt.length)]) : mean;
  }
  yield last(xt);
}

// Implicit sampling (Song et al. 2021, equations 12 and 16); eta = 0 adds no noise.
async function* ddim(model, alpha_bar, xT, { steps, eta = 0, randn, clip = true }) {
  let xt = xT;
  for (const [t, t_prev] of pairwise(timesteps(alpha_bar, steps))) {
    const [x0, eps] = await predict(model, alpha_bar, xt, t, clip);
    yield { t, xt, x0, eps };
    const [a, a_prev] = [alpha_bar[t], alpha_bar[t_prev]];
    const sigma = eta * sqrt(((1 - a_prev) / (1 - a)) * (1 - a / a_prev));
    xt = mix([sqrt(a_prev), x0], [sqrt(Math.max(1 - a_prev - sigma ** 2, 0)), eps]);
    if (sigma > 0) xt = mix([1, xt], [sigma, randn(xt.length)]);
  }
  yield last(xt);
}

// DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): h is the step in log(alpha / sigma). The first
// and the last step are of first order.
async function* dpm_solver(model, alpha_bar, xT, { steps, clip = true }) {
  let [xt, x0_before, h_before] = [xT, xT, Infinity];
  for (const [t, t_prev] of pairwise(timesteps(alpha_bar, steps))) {
    const [x0, eps] = await predict(model, alpha_bar, xt, t, clip);
    yield { t, xt, x0, eps };
    const [a, a_prev] = [alpha_bar[t], alpha_bar[t_prev]];
    const [sigma, sigma_prev] = [sqrt(1 - a), sqrt(1 - a_prev)];
    const h = log(sqrt(a_prev) / sigma_prev) - log(sqrt(a) / sigma);
    let D = x0;
    if (t < alpha_bar.length - 1 && t_prev > 0) {
      const r = h_before / h;
      D = mix([1 + 1 / (2 * r), x0], [-1 / (2 * r), x0_before]);
    }
    xt = mix([sigma_prev / sigma, xt], [-sqrt(a_prev) * expm1(-h), D]);
    [x0_before, h_before] = [x0, h];
  }
  yield last(xt);
}

const SAMPLERS = { ddpm, ddim, dpm_solver };

// The bytes of a picture, red, green, blue and opaque, from an image on the scale of [-1, 1].
function to_rgba(image) {
  const n = image.length / 3;
  const rgba = new Uint8ClampedArray(4 * n).fill(255);
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) rgba[4 * i + c] = (image[c * n + i] + 1) * 127.5;
  return rgba;
}
