// What was measured (tools/measure_live.py), as a table.

function mountMeasured(root) {
  const { draws, hardware, browser, date, command } = MANIFEST.measured;
  const cells = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
  const rows = Object.entries(draws).map(([what, found]) => {
    const memory = Math.max(...Object.entries(found).flatMap(([name, value]) => (name.startsWith("megabytes") ? [value] : [])));
    return cells("td", [what, `${found.cpu_seconds.toFixed(1)} s`, `${memory} MB`]);
  });
  root.append(make("table", { class: "table" },
    make("caption", {}, `${browser}, on ${hardware.split(",")[0]}, ${date}: ${command}`),
    make("thead", {}, cells("th", ["one picture", "computing", "memory of the page"])), make("tbody", {}, ...rows)));
}
