"""Build the slides of each chapter from its outline in instructor/slides.

python tools/slides.py             all of them, as HTML and PDF, to _build/slides
python tools/slides.py 05_ddim     some of them
python tools/slides.py --fetch     only reveal.js, for an archive that is used without a network

Figures come from the executed pages of the book; a page that was not executed since its last
change is executed first. reveal.js comes from npm (tools/fetch_onnxruntime.py), MathJax from the
site's own package. The decks open from disk and load nothing from any other host.
"""

import html
import importlib.util
import shutil
import sys
from pathlib import Path
from string import Template

import chromium
import fetch_onnxruntime
from execute_pages import BUILD, CACHE, ROOT, execute_all, read_page, source_of
from jupyter_cache import get_cache
from outlines import FOLDER, Chapter, numbered_chapters, read_chapter, slides
from playwright.sync_api import Browser, sync_playwright

SLIDES = BUILD / "slides"
REVEAL = (
    "reveal.js",
    "6.0.2",
    "JYIg5D9aoxoaLeb84O+OvAwsKWdIavVgEDScxtYEXFCT6t6TQrhNtSgogcjdCpdLsWglhJn3zyE3fUOwiH5KEg==",
)
INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title>
<link rel="stylesheet" href="assets/fonts/source-sans-pro.css">
<link rel="stylesheet" href="assets/deck.css"></head>
<body class="list"><h1>Slides</h1><ul>
{}
</ul><p>In a deck: arrow keys turn the slides, S opens the speaker's notes, ? lists all keys.</p>
</body></html>
"""


def assets(folder: Path) -> None:
    """Write what all decks share: reveal.js, MathJax with its fonts, the theme."""
    reveal = fetch_onnxruntime.fetch(packages=[REVEAL])["reveal.js"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("dist/reveal.js", "dist/reveal.css", "dist/plugin/notes.js"):
        shutil.copy(reveal / name, folder)
    shutil.copy(reveal / "LICENSE", folder / "reveal.js.LICENSE.txt")
    shutil.copytree(reveal / "css/theme/fonts/source-sans-pro", folder / "fonts")
    found = importlib.util.find_spec("sphinx-mathjax-offline").origin
    mathjax = Path(found).parent / "static/mathjax"
    (folder / "mathjax").mkdir()
    shutil.copy(mathjax / "tex-chtml.js", folder / "mathjax")
    fonts = Path("output/chtml/fonts/woff-v2")
    shutil.copytree(mathjax / fonts, folder / "mathjax" / fonts)
    for name in ("deck.css", "deck.js"):
        shutil.copy(FOLDER / name, folder)


def executed_pages(names: list[str]) -> dict:
    """Return the executed chapters; execute those that changed since."""
    CACHE.mkdir(parents=True, exist_ok=True)
    cache = get_cache(str(CACHE))

    def look(name: str):
        try:
            return cache.get_cache_bundle(
                cache.match_cache_notebook(read_page(source_of(name))).pk
            ).nb
        except KeyError:
            return None

    if missing := [name for name in names if look(name) is None]:
        print(f"executing {', '.join(missing)}", flush=True)
        if failed := execute_all(missing, check=False):
            sys.exit(f"These pages failed: {', '.join(failed)}")
    return {name: look(name) for name in names}


def deck(chapter: Chapter) -> str:
    """Return the deck of a chapter as one page."""
    parts = slides(chapter)
    title = html.escape(chapter.title)
    foot = '<div class="foot"><span>{}</span><span>{} / {}</span></div>'
    sections = []
    for at, part in enumerate(parts, 1):
        first = f'<div class="tag">Chapter {chapter.number}</div>' if at == 1 else ""
        notes = part[part.index("<aside") : part.index("</aside>") + 8] if "<aside" in part else ""
        body = first + part.replace(notes, "") + foot.format(title, at, len(parts))
        kind = ' class="first"' if at == 1 else ""
        sections.append(f'<section{kind}><div class="stage">{body}</div>{notes}</section>')
    template = Template((FOLDER / "deck.html").read_text(encoding="utf-8"))
    return template.substitute(title=title, slides="\n".join(sections))


def print_decks(browser: Browser, names: list[str]) -> None:
    """Print each deck into a PDF, one slide on a page; moving pictures print four frames."""
    with browser.new_page() as tab:
        tab.emulate_media(media="print", color_scheme="light")
        for name in names:
            tab.goto((SLIDES / f"{name}.html").as_uri() + "?print")
            tab.evaluate("() => window.tigerdiffSlides")
            path = SLIDES / f"{name}.pdf"
            tab.pdf(path=path, prefer_css_page_size=True, print_background=True, tagged=True)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def write_decks(names: list[str]) -> dict[str, Path]:
    """Write the decks of these chapters and what they share; return where each lies."""
    chapters, pages = numbered_chapters(), executed_pages(names)
    assets(SLIDES / "assets")
    written = {}
    for name in names:
        chapter = read_chapter(name, chapters.index(name) + 1, pages[name])
        written[name] = SLIDES / f"{name}.html"
        written[name].write_text(deck(chapter), encoding="utf-8")
    return written


def main(names: list[str]) -> None:
    """Build the decks of these chapters, or of all."""
    chapters = numbered_chapters()
    if unknown := set(names) - set(chapters):
        sys.exit(f"These are no chapters: {', '.join(sorted(unknown))}")
    write_decks(names or chapters)
    options = {"executable_path": chromium.find(), "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        print_decks(browser, names or chapters)
    entries = []
    for name in chapters:
        title = html.escape(read_chapter(name, 0).title)
        entries.append(f'<li><a href="{name}.html">{title}</a> (<a href="{name}.pdf">PDF</a>)</li>')
    (SLIDES / "index.html").write_text(INDEX.format("\n".join(entries)), encoding="utf-8")
    print(f"The slides are ready: {(SLIDES / 'index.html').as_uri()}")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--fetch"]:
            fetch_onnxruntime.fetch(packages=[REVEAL])
        else:
            main(sys.argv[1:])
    except (ConnectionError, KeyError, ValueError) as error:
        sys.exit(str(error.args[0]))
