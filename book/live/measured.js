// What was measured (tools/measure_live.py), as a table.

function mountMeasured(root) {
  const { draws, hardware, browser, date, command, megabytes_all_networks } = MANIFEST.measured;
  const names = ["one picture", "computing", "memory of the page"];
  // On the phone a row is a list, and each cell but the first shows its column's name.
  const column = (k) => (k > 0 ? { "data-column": names[k] } : {});
  const cells = (tag, texts) => make("tr", {}, ...texts.map((text, k) => make(tag, column(k), text)));
  const rows = Object.entries(draws).map(([what, found]) => {
    const memory = Math.max(...Object.entries(found).flatMap(([name, value]) => (name.startsWith("megabytes") ? [value] : [])));
    return cells("td", [what, `${found.cpu_seconds.toFixed(1)} s`, `${memory} MB`]);
  });
  root.append(make("table", { class: "table" },
    make("caption", {}, `${browser}, on ${hardware.split(",")[0]}, ${date}: ${command}. All networks in one page took ${megabytes_all_networks} MB.`),
    make("thead", {}, cells("th", names)), make("tbody", {}, ...rows)));
}
