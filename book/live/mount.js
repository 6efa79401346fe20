// Bring to life every part of the page that is there.
const PARTS = { device: mountDevice, noise: mountNoise, compare: mountCompare, photo: mountPhoto, words: mountWords, plane: mountPlane, measured: mountMeasured };
for (const root of document.querySelectorAll("[data-live]:not([data-ready])")) {
  root.setAttribute("data-ready", "");
  root.replaceChildren();
  PARTS[root.dataset.live](root);
}

// For the curious, and for the tests: tigerdiffLive.engine.draw(...) in the browser's console.
window.tigerdiffLive = { engine, models: MANIFEST.models };
