"""Read the outlines of the slides and fill in what the chapters hold.

An outline is Markdown: one slide after the other, separated by lines "---". It names figures,
equations, code and questions of its chapter by cell id or label, so that the slides show what the
book shows. instructor/slides/README.md lists these lines.
"""

import ast
import html
import re
import textwrap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
import yaml
from execute_pages import ROOT, source_of
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

FOLDER = ROOT / "instructor/slides"
EQUATION = re.compile(r"^\$\$\n((?:(?!^\$\$).*\n)+?)^\$\$ \(([\w-]+)\)", re.M)
QUESTION = re.compile(r"\*\*Predict[^*]*\*\*(.*?)\n:::\{dropdown\} Answer\n(.*?)\n:::", re.S)
LINE = re.compile(r"^\{(\w+)\}`([^`]+)`$")


@dataclass
class Chapter:
    """A chapter's cells and outputs by cell id, and its questions."""

    name: str
    number: int
    title: str
    source: dict[str, str]
    outputs: dict[str, list] = field(default_factory=dict)
    questions: dict[str, tuple[str, str]] = field(default_factory=dict)


def numbered_chapters() -> list[str]:
    """Return the names of the chapters that have a number, in the order of _toc.yml."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part for part in toc["parts"] if part.get("numbered")]
    return [chapter["file"] for part in parts for chapter in part["chapters"]]


def outline_of(name: str) -> Path:
    """Return the outline of a chapter's slides."""
    return FOLDER / f"{name}.md"


def words(name: str) -> str:
    """Return the Markdown of a chapter."""
    cells = nbformat.read(source_of(name), as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@cache
def book_equations() -> dict[str, tuple[str, str]]:
    """Return every numbered equation of the chapters by its label: formula, number in the book."""
    return {
        label: (formula.strip(), f"{number}.{at}")
        for number, name in enumerate(numbered_chapters(), 1)
        for at, (formula, label) in enumerate(EQUATION.findall(words(name)), 1)
    }


def read_chapter(name: str, number: int, executed: nbformat.NotebookNode | None = None) -> Chapter:
    """Read a chapter of the book, with its outputs where an executed copy is given."""
    cells = nbformat.read(source_of(name), as_version=4).cells
    title = re.search(r"^# (.+)", words(name), re.M)[1]
    chapter = Chapter(name, number, title, {cell.id: cell.source for cell in cells})
    for cell in cells:
        if found := QUESTION.search(cell.source):
            chapter.questions[cell.id] = (found[1].strip(), found[2].strip())
    for cell in executed.cells if executed else ():
        chapter.outputs[cell.id] = cell.get("outputs", [])
    return chapter


def look_up(table: dict, key: str, what: str, chapter: Chapter):
    """Return the entry of a chapter's table.

    Raises:
        KeyError: the chapter has no such entry.
    """
    if key not in table:
        raise KeyError(f"instructor/slides/{chapter.name}.md: there is no {what} {key}")
    return table[key]


def picture(chapter: Chapter, key: str, which: str = "1") -> str:
    """Return a figure, slider or table that a cell has put on the page."""
    outputs = look_up(chapter.outputs, key, "executed cell", chapter)
    shown = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]
    if len(shown) < int(which):
        raise KeyError(f"instructor/slides/{chapter.name}.md: cell {key} shows no figure {which}")
    return f'<div class="fit"><div class="figure">{shown[int(which) - 1]}</div></div>'


def printed(chapter: Chapter, key: str) -> str:
    """Return what a cell has printed."""
    outputs = look_up(chapter.outputs, key, "executed cell", chapter)
    text = "".join(out.text for out in outputs if out.output_type == "stream").strip("\n")
    if not text:
        raise KeyError(f"instructor/slides/{chapter.name}.md: cell {key} prints nothing")
    return f'<div class="fit"><pre class="printed">{html.escape(text)}</pre></div>'


def code(chapter: Chapter, key: str, part: str = "") -> str:
    """Return the code of a cell, or the function or class of this name in it."""
    source = look_up(chapter.source, key, "cell", chapter)
    if part:
        parts = {node.name: node for node in ast.parse(source).body if hasattr(node, "name")}
        node = look_up(parts, part, "function", chapter)
        source = textwrap.dedent(ast.get_source_segment(source, node))
    shown = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
    return f'<div class="fit"><pre class="code">{shown}</pre></div>'


def equation(chapter: Chapter, label: str) -> str:
    """Return a numbered equation of the book."""
    formula, number = look_up(book_equations(), label, "equation", chapter)
    return f'<div class="equation">\\[{html.escape(formula)}\\tag{{{number}}}\\]</div>'


def question(chapter: Chapter, key: str) -> str:
    """Return the question of a "Predict" of the chapter, to be put to the class."""
    asked, _ = look_up(chapter.questions, key, "question in cell", chapter)
    return f'<div class="question">\n\n{plain(asked, chapter)}\n\n</div>'


def answer(chapter: Chapter, key: str, sentences: str = "99") -> str:
    """Return the answer to a "Predict", or its first sentences; it appears at a key press."""
    _, found = look_up(chapter.questions, key, "question in cell", chapter)
    kept = re.split(r"(?<=[.?!])\s+(?=[A-Z$(])", found)[: int(sentences)]
    return f'<div class="fragment answer">\n\n{plain(" ".join(kept), chapter)}\n\n</div>'


def drawing(chapter: Chapter, name: str) -> str:
    """Return a drawing of the book's own folder of drawings."""
    svg = (ROOT / "book/_static" / name).read_text(encoding="utf-8")
    return f'<div class="fit"><div class="drawing">{svg[svg.index("<svg") :]}</div></div>'


INSERTS = {"cell": picture, "print": printed, "code": code, "equation": equation, "image": drawing}
TEXTS = {"ask": question, "answer": answer}
BOXES = {"reveal": "fragment", "columns": "columns", "notes": "", "small": "small"}


def plain(text: str, chapter: Chapter) -> str:
    """Replace cross-references in a text: equations by number, chapters by name."""

    def number(found: re.Match) -> str:
        return f"({look_up(book_equations(), found[1], 'equation', chapter)[1]})"

    text = re.sub(r"\{eq\}`([\w-]+)`", number, text)
    text = re.sub(r"\s*\(?\{(?:cite:p|ref)\}`[^`]*`\)?", "", text)
    return re.sub(r"\[([^\]]+)\]\([\w/]+\.(?:ipynb|md)[^)]*\)", r"\1", text)


def fill(text: str, chapter: Chapter) -> tuple[str, list[str]]:
    """Return a slide's text with boxes as HTML, and the pieces that replace its numbered marks."""
    lines, inserts, boxes = [], [], []
    for line in text.splitlines():
        if found := LINE.match(line.strip()):
            name, *arguments = found[1], *found[2].split()
            if name in TEXTS:
                lines.append(f"\n{TEXTS[name](chapter, *arguments)}\n")
            elif name in INSERTS:
                inserts.append(INSERTS[name](chapter, *arguments))
                lines.append(f'\n<div data-insert="{len(inserts) - 1}"></div>\n')
            else:
                raise ValueError(f"instructor/slides/{chapter.name}.md: unknown line {line!r}")
        elif line.startswith(":::{"):
            boxes.append(line[4:].rstrip("}"))
            opening = f'<div class="{BOXES[boxes[-1]]}">'
            if boxes[-1] == "notes":
                opening = '<aside class="notes mathjax_ignore">'
            lines.append(
                f"\n{opening}" + ('\n<div class="column">' * (boxes[-1] == "columns")) + "\n"
            )
        elif line.strip() == ":::":
            closing = {"columns": "</div></div>", "notes": "</aside>"}.get(boxes.pop(), "</div>")
            lines.append(f"\n{closing}\n")
        elif line.strip() == "+++":
            lines.append('\n</div><div class="column">\n')
        else:
            lines.append(line)
    if boxes:
        raise ValueError(f"instructor/slides/{chapter.name}.md: the box {boxes[-1]} has no end")
    return "\n".join(lines), inserts


def tex(content: str, options: dict) -> str:
    """Return a formula as MathJax reads it."""
    opening, closing = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return f"{opening}{html.escape(content, quote=False)}{closing}"


MARKDOWN = MarkdownIt("commonmark", {"html": True, "typographer": True})
MARKDOWN.enable(["table", "smartquotes"]).use(dollarmath_plugin, renderer=tex)


def slides(chapter: Chapter) -> list[str]:
    """Return the slides of a chapter as HTML, from its outline."""
    text = outline_of(chapter.name).read_text(encoding="utf-8")
    parts = []
    for part in re.split(r"^---\n", text, flags=re.M):
        filled, inserts = fill(plain(part, chapter), chapter)
        parts.append(MARKDOWN.render(filled))
        for k, insert in enumerate(inserts):
            parts[-1] = parts[-1].replace(f'<div data-insert="{k}"></div>', insert)
    return parts
