// A network that learns the noise in points of the plane, with its gradients written by hand.
//
// A batch of n points is a Float64Array (n, 2) in rows. The network is
//     h1 = silu(f W1 + b1),   h2 = silu(h1 W2 + b2),   output = h2 W3 + b3
// of features f of each point: the point itself, and sines and cosines of it and of the time.

const WAVES = [1, 2, 4];
const FEATURES = 2 + 6 * WAVES.length;
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function features(x, t, T) {
  const n = x.length / 2;
  const f = new Float64Array(n * FEATURES);
  for (let i = 0; i < n; i++) {
    const [u, v] = [x[2 * i], x[2 * i + 1]];
    const angles = WAVES.flatMap((k) => [2 * k * u, 2 * k * v, (k * Math.PI * t[i]) / (2 * T)]);
    f.set([u, v, ...angles.map(Math.sin), ...angles.map(Math.cos)], i * FEATURES);
  }
  return f;
}

// A linear layer with what Adam (Kingma & Ba 2015) remembers. Weights start with variance 1 / inside.
function layer(inside, outside, randn, scale = 1) {
  const W = Float64Array.from(randn(inside * outside), (z) => (scale * z) / Math.sqrt(inside));
  const zeros = () => [new Float64Array(W.length), new Float64Array(outside)];
  const [[dW, db], [mW, mb], [vW, vb]] = [zeros(), zeros(), zeros()];
  const b = new Float64Array(outside);
  return { inside, outside, W, b, dW, db, adam: [[W, dW, mW, vW], [b, db, mb, vb]] };
}

// y = x W + b
function forward({ inside, outside, W, b }, x) {
  const n = x.length / inside;
  const y = new Float64Array(n * outside);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < outside; k++) y[i * outside + k] = b[k];
    for (let j = 0; j < inside; j++) {
      const xij = x[i * inside + j];
      for (let k = 0; k < outside; k++) y[i * outside + k] += xij * W[j * outside + k];
    }
  }
  return y;
}

// dL/dW = x^T dy and dL/db = sum of dy, kept in the layer; returns dL/dx = dy W^T.
function backward({ inside, outside, W, dW, db }, x, dy) {
  const n = x.length / inside;
  const dx = new Float64Array(n * inside);
  dW.fill(0);
  db.fill(0);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < outside; k++) db[k] += dy[i * outside + k];
    for (let j = 0; j < inside; j++) {
      const xij = x[i * inside + j];
      let sum = 0;
      for (let k = 0; k < outside; k++) {
        dW[j * outside + k] += xij * dy[i * outside + k];
        sum += W[j * outside + k] * dy[i * outside + k];
      }
      dx[i * inside + j] = sum;
    }
  }
  return dx;
}

// silu(a) = a sigmoid(a), whose derivative is sigmoid(a) (1 + a (1 - sigmoid(a))).
const silu = (a) => a.map((value) => value * sigmoid(value));
const silu_backward = (a, dy) => dy.map((value, i) => value * sigmoid(a[i]) * (1 + a[i] * (1 - sigmoid(a[i]))));

function pointNetwork(seed, { T = 100, hidden = 64 } = {}) {
  const [randn, next] = [normal(seed), uniform(seed + 1)];
  const layers = [layer(FEATURES, hidden, randn), layer(hidden, hidden, randn), layer(hidden, 2, randn, 0.1)];
  const alpha_bar = cosine(T);
  let [updates, rate] = [0, 0.003];

  const run = (x, t) => {
    const f = features(x, t, T);
    const a1 = forward(layers[0], f), h1 = silu(a1);
    const a2 = forward(layers[1], h1), h2 = silu(a2);
    return { f, a1, h1, a2, h2, output: forward(layers[2], h2) };
  };

  // The loss ||eps - output||^2 / n of one batch (Ho et al. 2020, equation 14); gradients in the layers.
  const loss = (xt, t, eps) => {
    const { f, a1, h1, a2, h2, output } = run(xt, t);
    const error = output.map((value, i) => value - eps[i]);
    const dh2 = backward(layers[2], h2, error.map((value) => (2 * value) / t.length));
    const dh1 = backward(layers[1], h1, silu_backward(a2, dh2));
    backward(layers[0], f, silu_backward(a1, dh1));
    return error.reduce((sum, value) => sum + value ** 2, 0) / t.length;
  };

  // One update of Adam on a batch of noised points; returns the loss.
  const train = (points, n = 128) => {
    const [xt, t, eps] = [new Float64Array(2 * n), new Float64Array(n), Float64Array.from(randn(2 * n))];
    for (let i = 0; i < n; i++) {
      const x0 = points[Math.floor(next() * points.length)];
      t[i] = 1 + Math.floor(next() * T);
      for (let c = 0; c < 2; c++) xt[2 * i + c] = Math.sqrt(alpha_bar[t[i]]) * x0[c] + Math.sqrt(1 - alpha_bar[t[i]]) * eps[2 * i + c];
    }
    const value = loss(xt, t, eps);
    updates += 1;
    for (const [w, dw, m, v] of layers.flatMap(({ adam }) => adam)) {
      for (let i = 0; i < w.length; i++) {
        m[i] = 0.9 * m[i] + 0.1 * dw[i];
        v[i] = 0.999 * v[i] + 0.001 * dw[i] ** 2;
        w[i] -= (rate * m[i]) / (1 - 0.9 ** updates) / (Math.sqrt(v[i] / (1 - 0.999 ** updates)) + 1e-8);
      }
    }
    return value;
  };

  // The model as the samplers take it: all points at the time t.
  const model = async (xt, t) => run(xt, new Float64Array(xt.length / 2).fill(t)).output;
  model.prediction = "eps";
  const score = (x, t) => run(x, new Float64Array(x.length / 2).fill(t)).output.map((eps) => -eps / Math.sqrt(1 - alpha_bar[t]));
  return { layers, alpha_bar, T, loss, train, model, score, updates: () => updates };
}
