"""Print the built book into one PDF, with bookmarks and links that stay inside it.

python tools/book_pdf.py     _build/html to _build/tigerdiff.pdf (make pdf builds the book first)

Moving pictures print four frames, and answers and solutions are open. Folded code stays out.
"""

import io
import sys
from pathlib import Path

import chromium
import yaml
from execute_pages import ROOT, listed_pages
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

HTML = ROOT / "_build/html"
PDF = ROOT / "_build/tigerdiff.pdf"
STYLE = """
.bd-article details.hide, .bd-header, .bd-header-article, .bd-sidebar-primary,
.bd-sidebar-secondary, .bd-footer, .prev-next-area, .live, .headerlink, .copybtn,
.toggle-button { display: none !important; }
.bd-main .bd-content .bd-article-container { max-width: none !important; padding: 0 !important; }
figure, img, table, .math, fieldset, .cell_input { break-inside: avoid; }
h1, h2, h3 { break-after: avoid; }
"""


def print_page(tab: Page, name: str) -> PdfReader:
    """Open a page of the built book from disk and print it."""
    tab.goto((HTML / f"{name}.html").as_uri())
    tab.evaluate("() => window.MathJax?.startup?.promise")
    tab.add_style_tag(content=STYLE)
    tab.evaluate(
        "() => document.querySelectorAll('details:not(.hide)').forEach(box => (box.open = true))"
    )
    tab.evaluate("() => document.querySelectorAll('.toggle-button-hidden').forEach(b => b.click())")
    tab.evaluate(
        "() => Promise.all([...document.images].map(image => image.decode().catch(() => 0)))"
    )
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "18mm")
    pdf = tab.pdf(format="A4", scale=0.8, print_background=True, margin=margin, tagged=True)
    return PdfReader(io.BytesIO(pdf))


def annotations(page) -> list:
    """Return the links of a printed page."""
    return [entry.get_object() for entry in page.get("/Annots", [])]


def resolve_names(printed: PdfReader) -> None:
    """Let links within a page name their place: two pages may use one name for two places."""
    for page in printed.pages:
        for link in annotations(page):
            if isinstance(link.get("/Dest"), str):
                place = printed.named_destinations[link["/Dest"]]
                link[NameObject("/Dest")] = place.dest_array


def link_pages(book: PdfWriter, starts: dict[str, int]) -> None:
    """Let links from page to page go to where that page begins here; drop other local ones."""
    for page in book.pages:
        kept = ArrayObject()
        for entry in page.get("/Annots", []):
            link = entry.get_object()
            target = str(link.get("/A", {}).get("/URI", ""))
            name = target.partition("#")[0].partition("?")[0]
            if name in starts:
                del link[NameObject("/A")]
                place = [book.pages[starts[name]].indirect_reference, NameObject("/Fit")]
                link[NameObject("/Dest")] = ArrayObject(place)
            if name in starts or not target.startswith("file:"):
                kept.append(entry)
        if "/Annots" in page:
            page[NameObject("/Annots")] = kept


def print_book(browser: Browser, path: Path, names: list[str]) -> None:
    """Print the pages with these names, one after the other."""
    book, starts = PdfWriter(), {}
    with browser.new_page() as tab:
        tab.emulate_media(media="print", color_scheme="light")
        for name in names:
            printed = print_page(tab, name)
            resolve_names(printed)
            starts[(HTML / f"{name}.html").as_uri()] = len(book.pages)
            book.append(printed, outline_item=tab.locator("h1").first.inner_text().rstrip("#"))
            print(f"{name}: {len(printed.pages)} pages", flush=True)
    link_pages(book, starts)
    book.add_metadata({"/Title": "Diffusion models, drawn with one tiger"})
    book.compress_identical_objects()
    book.write(path)
    print(f"{path}: {len(book.pages)} pages, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    if not (HTML / "index.html").exists():
        sys.exit("There is no built book: run make book first.")
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    program = chromium.find()
    with sync_playwright() as playwright:
        options = {"executable_path": program, "args": ["--no-sandbox"]}
        with playwright.chromium.launch(**options) as browser:
            print_book(browser, PDF, listed_pages(toc))
