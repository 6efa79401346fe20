"""Sphinx extension: pages that carry no more than they need, checked by tests/test_book.py.

When the build has finished, each page keeps one viewport tag, a title that names the site once,
and MathJax only if it has a formula; a shared link shows the page's own description; each cell of
a table knows its column, for phones, where a row becomes a list; a formula keeps its punctuation
on its line; the search page gets a script that names the section; the Colab button opens the copy
that plain_notebooks.py made.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

VIEWPORT = re.compile(r'\s*<meta name="viewport"[^>]*>')
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
MATHJAX = re.compile(
    r"\s*<script[^>]*>window\.MathJax = .*?</script>|\s*<script[^>]*mathjax[^>]*></script>"
)
FORMULA = re.compile(r'class="[^"]*\bmath\b')
INLINE = r'<span class="math notranslate nohighlight">[^<]*</span>'
BESIDE = re.compile(rf"[(\[“]+{INLINE}[.,:;!?)\]”’]*|{INLINE}[.,:;!?)\]”’]+")
WRITTEN = re.compile(r'<meta content="([^"]*)" name="description"')
SHARED = re.compile(r'(<meta property="og:description" content=")[^"]*')
TABLE = re.compile(r'<table class="table">.*?</table>', re.DOTALL)
HEAD = re.compile(r'<th class="head[^"]*">(.*?)</th>', re.DOTALL)
ROW = re.compile(r"<tr.*?</tr>", re.DOTALL)
COLAB = re.compile(r'(?<=href=")(https://colab\.[^"]*?/blob/)[^"]+?/book/')  # branch and folder
SEARCH_SCRIPT = "search_sections.js"


def lightened(page: str) -> str:
    """Return the HTML of a page without what it does not need."""
    for found in VIEWPORT.findall(page)[1:]:
        page = "".join(page.rsplit(found, 1))
    page = TITLE.sub(lambda found: f"<title>{single(found[1])}</title>", page, count=1)
    if written := WRITTEN.search(page):
        page = SHARED.sub(lambda shared: shared[1] + written[1], page)
    page = BESIDE.sub(r'<span class="keep">\g<0></span>', page)
    page = TABLE.sub(lambda table: labelled(table[0]), page)
    return page if FORMULA.search(page) else MATHJAX.sub("", page)


def labelled(table: str) -> str:
    """Return the HTML of a table whose cells, but for the first of a row, name their columns."""
    names = [re.sub(r"<[^>]+>|\n", "", head) for head in HEAD.findall(table)]

    def with_names(row: re.Match[str]) -> str:
        first, *others = re.split(r"<td(?=[ >])", row[0])
        cells = zip(["", *(f' data-column="{name}"' for name in names[1:])], others, strict=False)
        return first + "".join(f"<td{name}{cell}" for name, cell in cells)

    return ROW.sub(with_names, table)


def single(title: str) -> str:
    """Return a title "page — site" whose two parts are not the same."""
    parts = [" ".join(part.split()) for part in title.split("&#8212;")]
    return " &#8212; ".join(dict.fromkeys(parts))


def lighten_pages(app: Sphinx, error: Exception | None) -> None:
    """Rewrite the pages that were built."""
    if error is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            if "_static" not in path.parts:
                page = path.read_text(encoding="utf-8")
                place = f"{app.config.plain_notebooks}/"
                page = COLAB.sub(lambda found, to=place: found[1] + to, lightened(page))
                path.write_text(page, encoding="utf-8")


def add_search_script(app: Sphinx, pagename: str, *_: object) -> None:
    """Load the script of the search page there alone."""
    if pagename == "search":
        app.add_js_file(SEARCH_SCRIPT)


def add_folder(app: Sphinx, config: Config) -> None:
    """Serve the script; jupyter-book loads all that lies in book/_static on every page."""
    config.html_static_path.append(str(Path(__file__).parent / "pages"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all three."""
    app.add_config_value("plain_notebooks", "", "html", str)
    app.connect("config-inited", add_folder)
    app.connect("html-page-context", add_search_script)
    app.connect("build-finished", lighten_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
