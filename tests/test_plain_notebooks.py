"""The copies of the chapters in plain Markdown, which Colab shows."""

import re
from pathlib import Path

import nbformat
import plain_notebooks
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
COPIES = plain_notebooks.plain_notebooks()
LINK = re.compile(r"\[((?:[^][]|\[[^][]*\])+)\]\((https?:(?:[^()\s]|\([^()\s]*\))*)\)")
NAMES = {
    "ho2020": ("Ho et al., 2020", "https://arxiv.org/abs/2006.11239"),
    "gal2023": ("Gal and Cohen, 2023", "https://arxiv.org/abs/2208.01618"),
    "eq-a": ("(5.1)", "https://site/05.html#equation-eq-a"),
    "here": ("here", "https://site/05.html#here"),
    "task": ("Exercise 5.2", "https://site/05.html#task"),
}


def markdown(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_every_notebook_of_the_book_has_a_copy():
    pages = [*BOOK.glob("*.ipynb"), *BOOK.glob("deeper/*.ipynb")]
    assert COPIES.keys() == {p.relative_to(BOOK).with_suffix("").as_posix() for p in pages}
    assert len(COPIES) >= 15


@pytest.mark.parametrize("page", COPIES)
def test_a_copy_is_plain_and_valid(page):
    nbformat.validate(COPIES[page])
    text = markdown(COPIES[page])
    assert not re.findall(r"\{[\w:-]+\}`|^:::|^`{3,}\{|^\([\w-]+\)=|^\$\$ \(", text, re.MULTILINE)
    assert not re.findall(
        r"\]\((?!https?:)|(?:src|href)=\"(?!https?:)", re.sub(r"`[^`]*`", "", text)
    )
    source = markdown(nbformat.read(BOOK / f"{page}.ipynb", as_version=4))
    assert text.count("<details>") == text.count("</details>") == source.count("{dropdown}")
    assert text.count(r"\tag{") == len(plain_notebooks.EQUATION.findall(source))


@pytest.mark.parametrize("page", COPIES)
def test_a_copy_has_the_same_code_folded_where_the_page_hides_it(page):
    code = [cell for cell in COPIES[page].cells if cell.cell_type == "code"]
    source = nbformat.read(BOOK / f"{page}.ipynb", as_version=4)
    originals = [cell for cell in source.cells if cell.cell_type == "code"]
    for copy, original in zip(code, originals, strict=True):
        hidden = {"remove-cell", "hide-input", "hide-cell"} & set(original.metadata.get("tags", []))
        title, _, rest = copy.source.partition("\n")
        assert (rest if hidden else copy.source) == original.source
        assert title.startswith("# @title ") == (copy.metadata.get("cellView") == "form")
        assert title.startswith("# @title ") == bool(hidden)


@pytest.mark.parametrize("page", COPIES)
def test_a_solution_is_folded_down_to_the_next_exercise(page):
    cells = COPIES[page].cells
    source = markdown(nbformat.read(BOOK / f"{page}.ipynb", as_version=4))
    folded = COPIES[page].metadata["colab"]["collapsed_sections"]
    assert len(folded) == source.count("{solution-start}")
    for i, cell in enumerate(cells):
        if cell.id in folded:
            assert cell.source == "#### Solution" and cell.metadata["id"] == cell.id
            assert cell.metadata["jp-MarkdownHeadingCollapsed"] is True
            texts = [c.source for c in cells[i + 1 :] if c.cell_type == "markdown"]
            heads = [text for text in texts if re.match("#+ ", text)]
            assert not heads or re.match("### Exercise|## ", heads[0])


@pytest.mark.parametrize(
    ("myst", "expected"),
    [
        ("See {eq}`eq-a`.", "See [(5.1)](https://site/05.html#equation-eq-a)."),
        ("$$\na\n$$ (eq-a)\n", "$$\na\n\\tag{5.1}\n$$"),
        ("{cite:t}`ho2020`", "Ho et al. [[2020]](https://arxiv.org/abs/2006.11239)"),
        (
            "x {cite:p}`ho2020, gal2023`",
            "x [[Ho et al., 2020](https://arxiv.org/abs/2006.11239); "
            "[Gal and Cohen, 2023](https://arxiv.org/abs/2208.01618)]",
        ),
        ("{ref}`task`", "[Exercise 5.2](https://site/05.html#task)"),
        ("{ref}`the last exercise <task>`", "[the last exercise](https://site/05.html#task)"),
        ("[below](here)", "[below](https://site/05.html#here)"),
        ("(here)=\n## Title", "## Title"),
        ("[a](resume.ipynb#b)", f"[a]({plain_notebooks.SITE}deeper/resume.html#b)"),
        ("[a](../notation.md)", f"[a]({plain_notebooks.SITE}notation.html)"),
        ("[`f`](tigerdiff.unet.f)", f"[`f`]({plain_notebooks.SITE}api.html#tigerdiff.unet.f)"),
        ("[a](https://x.org/b.md)", "[a](https://x.org/b.md)"),
        (":::{dropdown} Answer\nNo.\n:::",
         "<details>\n<summary>Answer</summary>\n\nNo.\n\n</details>"),
        (":::{admonition} A\n:class: warning\n\nb\n\nc\n:::", "> **A**\n>\n> b\n>\n> c"),
        (":::{quiz} 05_ddim\nIn the book.\n:::",
         f"[This chapter's page]({plain_notebooks.SITE}deeper/x.html#check-yourself) has questions "
         "with feedback."),
        ("```{image} _static/a.svg\n:alt: An A\n```",
         f"![An A]({plain_notebooks.SITE}_images/a.svg)"),
        ("```{exercise-start} Do it\n:label: task\n```\nNow.\n```{exercise-end}\n```",
         "### Exercise 5.2: Do it\n\nNow."),
        ("```python\nx[1](2)\n```", "```python\nx[1](2)\n```"),
    ],
)  # fmt: skip
def test_myst_becomes_plain_markdown(myst, expected):
    assert plain_notebooks.plain_text("deeper/x", myst, NAMES) == expected


def test_an_unknown_directive_or_label_stops_with_its_name():
    with pytest.raises(ValueError, match="'tabs'"):
        plain_notebooks.plain_text("x", ":::{tabs} A\nb\n:::", NAMES)
    with pytest.raises(KeyError, match="eq-b"):
        plain_notebooks.plain_text("x", "{eq}`eq-b`", NAMES)


def test_equations_count_through_a_chapter_and_pages_without_a_number_count_alone():
    source = new_notebook(
        cells=[
            new_markdown_cell("$$\na\n$$ (eq-a)"),
            new_markdown_cell("$$\nb\n$$\n\n$$\nc\n$$ (eq-c)"),
        ]
    )
    found = plain_notebooks.labels("08_flow_matching", source)
    assert [found[x][0] for x in ("eq-a", "eq-c")] == ["(8.1)", "(8.2)"]
    assert plain_notebooks.labels("deeper/resume", source)["eq-c"][0] == "(2)"


@pytest.mark.slow
@pytest.mark.parametrize("page", COPIES)
def test_numbers_names_and_links_are_those_of_the_page(page, built_book):
    """Each reference of the page stands in the copy, under the same words, to the same place."""
    article = BeautifulSoup((built_book / f"{page}.html").read_text(), "html.parser").article
    text = markdown(COPIES[page])
    found = {(words, link) for words, link in LINK.findall(text)}
    site, folder = plain_notebooks.SITE, Path(page).parent.as_posix()
    for link in article.select("a.reference.internal"):
        to = link["href"]
        if "#equation-" in to:
            place = f"{page}.html{to}" if to.startswith("#") else to.removeprefix("../")
            place = place if to.startswith(("#", "../")) or folder == "." else f"{folder}/{place}"
            assert (link.get_text(), site + place) in found
    assert re.findall(r"### (Exercise [\d.]+)", text) == [
        title.get_text().split("(")[0].strip()
        for title in article.select("div.exercise > p.admonition-title")
    ]
    shown = {words.strip("[]") for words, _ in found}
    assert {x.get_text() for x in article.select('a[href*="references.html#id"]')} <= shown
    anchors = {}
    for _, link in found:
        if link.startswith(site) and "#" in link:
            path, _, anchor = link.removeprefix(site).partition("#")
            if path not in anchors:
                html = (built_book / path).read_text(encoding="utf-8")
                anchors[path] = set(re.findall(r'id="([^"]+)"', html))
            assert anchor in anchors[path], link
        elif link.startswith(site):
            assert (built_book / link.removeprefix(site)).exists(), link
