// A result of the search leads to the section that has the words, and names it.
document.addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  if (location.protocol === "file:" || !results) return; // from disk, other pages cannot be read
  const words = (new URLSearchParams(location.search).get("q") || "")
    .toLowerCase().split(/\s+/).filter(Boolean);
  new MutationObserver(() => {
    for (const item of results.querySelectorAll("ul.search > li:not([data-section])")) {
      item.dataset.section = "";
      const link = item.querySelector("a");
      if (link && !new URL(link.href).hash) lead(link, words);
    }
  }).observe(results, { childList: true, subtree: true });
});

async function lead(link, words) {
  const response = await fetch(link.href);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  let best = null, most = 0;
  for (const section of page.querySelectorAll("article section[id]")) {
    const own = section.cloneNode(true);
    own.querySelectorAll("section").forEach(inner => inner.remove());
    const text = own.textContent.toLowerCase();
    const found = words.filter(word => text.includes(word)).length;
    if (found > most) [best, most] = [section, found];
  }
  const heading = best && best.querySelector("h1, h2, h3, h4");
  if (!heading) return;
  heading.querySelectorAll(".headerlink").forEach(mark => mark.remove());
  link.href = link.href.split("#")[0] + "#" + best.id;
  if (heading.textContent.trim() !== link.textContent.trim())
    link.append(` › ${heading.textContent.trim()}`);
}
