"""Store the chapters without outputs and without what editors leave behind.

A cell tagged nbval-check-output keeps its output: the tests compare it. The page keeps its written
description (metadata myst, html_meta), which search engines and links to the page show.

python tools/clean_notebooks.py            rewrites the notebooks below book/
"""

from pathlib import Path

import nbformat

BOOK = Path(__file__).parent.parent / "book"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("mystnb", "tags")


def cleaned(text: str) -> str:
    """Return the notebook (JSON text) as it should be stored."""
    notebook = nbformat.reads(text, as_version=4)
    described = {"myst": notebook.metadata["myst"]} if "myst" in notebook.metadata else {}
    notebook.metadata = nbformat.from_dict(KERNEL | described)
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)}
        cell.pop("attachments", None)
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        if "nbval-check-output" not in cell.metadata.get("tags", []):
            cell.outputs = []
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    """Rewrite the notebooks that differ and name them."""
    for path in sorted(BOOK.rglob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = cleaned(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"cleaned {path.name}")


if __name__ == "__main__":
    main()
