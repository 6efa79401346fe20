"""Write the chapters in plain Markdown, for Colab and other programs that do not know MyST.

python tools/plain_notebooks.py plain

Where the sources have ``{eq}`eq-ddim` ``, ``{cite:t}`song2021ddim` `` and ``[](notation.md)``, the
copies have the equation's number, the paper's authors and a link to the site. Answers, solutions
and hidden code are folded. The code is the same. The site's workflow puts the copies on the branch
"notebooks", where the Colab buttons lead (plain_notebooks in _config.yml).
"""

import posixpath
import re
import sys
from pathlib import Path, PurePosixPath

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from pybtex.database import parse_file

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
SITE = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["html"]["baseurl"]
DIRECTIVE = re.compile(
    r"^(:{3,}|`{3,})\{([\w-]+)\} ?(.*)\n((?::[\w-]+:.*\n)*)((?:.*\n)*?)\1$", re.MULTILINE
)
CODE = re.compile(r"(^```\w*\n(?:.*\n)*?```$)", re.MULTILINE)
OPTION = re.compile(r":([\w-]+): ?(.*)")
SCRIPT = re.compile(r"^<(?:link|script) .*\n", re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
EQUATION = re.compile(r"^\$\$ \(([\w-]+)\)$", re.MULTILINE)
EXERCISE = re.compile(r"\{exercise-start\} (.*)\n:label: (.*)")
ROLE = re.compile(r"\{(eq|ref|cite:[tp])\}`(?:([^`<]+) <)?([^`>]+)>?`")
LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(#[^)\s]+)?\)")
Names = dict[str, tuple[str, str]]  # of a label: what stands for it, and its address


def plain_notebooks() -> dict[str, NotebookNode]:
    """Return the copy of each notebook of the book, by the page's name."""
    sources = {
        path.relative_to(BOOK).with_suffix("").as_posix(): nbformat.read(path, as_version=4)
        for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("deeper/*.ipynb")]
    }
    names = papers()
    for page, source in sources.items():
        names |= labels(page, source)
    return {page: plain(page, source, names) for page, source in sources.items()}


def papers() -> Names:
    """Return "Ho et al., 2020" and the address of each paper, by its key in references.bib."""
    found = {}
    for key, entry in parse_file(BOOK / "references.bib").entries.items():
        authors = [" ".join(map(str, x.rich_last_names)) for x in entry.persons["author"]]
        short = f"{authors[0]} et al." if len(authors) > 2 else " and ".join(authors)
        link = entry.fields.get("url") or f"https://doi.org/{entry.fields['doi']}"
        found[key] = f"{short}, {entry.fields['year']}", link
    return found


def labels(page: str, source: NotebookNode) -> Names:
    """Return number or name, and the address on the site, of each label of a page.

    Equations and exercises are counted through a chapter, as on its page: (5.1), (5.2) ...
    """
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    chapter, address = f"{int(page[:2])}." if page[:2].isdigit() else "", f"{SITE}{page}.html"
    found = {label: (label, f"{address}#{label}") for label in TARGET.findall(text)}
    for i, label in enumerate(EQUATION.findall(text), 1):
        found[label] = f"({chapter}{i})", f"{address}#equation-{label}"
    for i, (_, label) in enumerate(EXERCISE.findall(text), 1):
        found[label] = f"Exercise {chapter}{i}", f"{address}#{label}"
    return found


def plain(page: str, source: NotebookNode, names: Names) -> NotebookNode:
    """Return the copy of a notebook."""
    cells = []
    for cell in source.cells:
        if cell.cell_type == "code":
            cells.append(fold(cell))
            continue
        if "{solution-start}" in cell.source:  # its heading folds the cells down to the next one
            cells.append(new_markdown_cell("#### Solution", id=f"{cell.id}-s"))
        cell.source = plain_text(page, cell.source, names)
        if cell.source:
            cells.append(cell)
    site = f"{SITE}{page}.html"
    cells[0].source += f"\n\n*[The course's site]({site}) shows this page with all its results.*"
    for cell in cells:
        cell.metadata["id"] = cell.id  # by which Colab knows a cell
    folded = [cell for cell in cells if cell.source == "#### Solution"]
    for cell in folded:
        cell.metadata["jp-MarkdownHeadingCollapsed"] = True
    source.metadata["colab"] = {"collapsed_sections": [cell.id for cell in folded]}
    source.cells = cells
    return source


def fold(cell: NotebookNode) -> NotebookNode:
    """Hide the code of a cell where the page hides it, under its words for that code."""
    tags = set(cell.metadata.get("tags", []))
    if {"hide-input", "hide-cell", "remove-cell"} & tags:
        words = cell.metadata.get("mystnb", {}).get("code_prompt_show", "Show the result")
        words = "Show the installation" if "remove-cell" in tags else words
        words = words.removeprefix("Show the ").removeprefix("Show ")
        cell.source = f"# @title {words[0].upper()}{words[1:]}\n{cell.source}"
        cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return cell


def plain_text(page: str, text: str, names: Names) -> str:
    """Return MyST Markdown as plain Markdown.

    Raises:
        ValueError: if the text has a directive that is not known here.
    """
    text = DIRECTIVE.sub(lambda found: directive(page, *found.groups()[1:], names), text)
    parts = CODE.split(text)
    parts[::2] = [prose(page, part, names) for part in parts[::2]]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()


def prose(page: str, text: str, names: Names) -> str:
    """Return a text without directives and blocks of code as plain Markdown."""
    text = SCRIPT.sub("", TARGET.sub("", text))
    text = EQUATION.sub(lambda found: tag(names[found[1]][0]), text)
    text = ROLE.sub(lambda found: role(*found.groups(), names), text)
    return LINK.sub(lambda found: f"]({address(page, *found.groups(), names)})", text)


def directive(page: str, name: str, title: str, options: str, body: str, names: Names) -> str:
    """Return what stands for a directive."""
    found = dict(OPTION.findall(options))
    if name in ("exercise-end", "solution-start", "solution-end"):
        return ""
    if name == "exercise-start":
        return f"### {names[found['label']][0]}: {title}\n"
    if name == "dropdown":
        return f"<details>\n<summary>{title}</summary>\n\n{body.strip()}\n\n</details>\n"
    if name == "admonition":
        quoted = "\n".join(f"> {line}".rstrip() for line in body.strip().splitlines())
        return f"> **{title}**\n>\n{quoted}\n"
    if name == "image":
        return f"![{found['alt']}]({SITE}_images/{Path(title).name})"
    if name == "quiz":
        return (
            f"[This chapter's page]({SITE}{page}.html#check-yourself) has questions with feedback."
        )
    raise ValueError(f"plain_notebooks.py does not know the directive {name!r}")


def tag(number: str) -> str:
    """Return the end of a displayed equation with its number, "(5.1)"."""
    return rf"\tag{{{number.strip('()')}}}" + "\n$$"


def role(kind: str, words: str | None, target: str, names: Names) -> str:
    """Return what stands for a reference to an equation, an exercise or papers."""
    found = [names[key.strip()] for key in target.split(",")]
    if kind == "cite:t":
        ((label, link),) = found
        authors, _, year = label.rpartition(", ")
        return f"{authors} [[{year}]]({link})"
    if kind == "cite:p":
        return "[" + "; ".join(f"[{label}]({link})" for label, link in found) + "]"
    return f"[{words or found[0][0]}]({found[0][1]})"


def address(page: str, target: str, place: str, names: Names) -> str:
    """Return where a relative link leads on the site: a page, a label or a name of the package."""
    if target in names:
        return names[target][1]
    if target.startswith("tigerdiff."):
        return f"{SITE}api.html#{target}"
    folder = PurePosixPath(page).parent
    path = posixpath.normpath(folder / target) if target else page
    return f"{SITE}{path.removesuffix('.md').removesuffix('.ipynb')}.html{place or ''}"


def main() -> None:
    """Write all copies into a folder."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/plain_notebooks.py FOLDER")
    copies = plain_notebooks()
    for page, notebook in copies.items():
        path = Path(sys.argv[1]) / f"{page}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
    print(f"{sys.argv[1]}: {len(copies)} notebooks")


if __name__ == "__main__":
    main()
