"""Bring every mention of the repository's address in line with repository.url in _config.yml.

The badges of the README lead to the copies that plain_notebooks in _config.yml names.

python tools/repository_url.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "_config.yml")
PAGES = ("book/**/*.md", "book/**/*.ipynb", "instructor/**/*.md", "instructor/**/*.ipynb")
COLAB = re.compile(r"(colab\.research\.google\.com/github/[^)]*?/blob/)[^)]*/(?=\w+\.ipynb)")
SLUG = r"([\w-]+)/([\w.-]*\w)"


def slug(text: str) -> tuple[str, str]:
    """Return owner and name of the first GitHub repository that the text mentions."""
    found = re.search(rf"https://github\.com/{SLUG}", text)
    if found is None:
        raise ValueError("found no https://github.com/OWNER/NAME")
    return found[1], found[2]


def rewritten(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """Replace old by new in the text's addresses of GitHub, Colab, Binder and GitHub Pages."""
    for form in ("github.com/{}/{}", "/github/{}/{}", "/gh/{}/{}", "{}.github.io/{}"):
        text = re.sub(re.escape(form.format(*old)) + r"(?![\w-])", form.format(*new), text)
    return text


def main(root: Path = ROOT) -> list[str]:
    """Rewrite the files in place; return the names of those that changed."""
    config = (root / "_config.yml").read_text(encoding="utf-8")
    new, place = slug(config), re.search(r"plain_notebooks: (\S+)", config)
    old = slug((root / "pyproject.toml").read_text(encoding="utf-8"))
    changed = []
    for path in [root / name for name in FILES] + [p for g in PAGES for p in root.glob(g)]:
        before = path.read_text(encoding="utf-8")
        after = rewritten(before, old, new)
        if path.name == "README.md" and place:
            after = COLAB.sub(lambda found: f"{found[1]}{place[1]}/", after)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path.relative_to(root).as_posix())
    return changed


if __name__ == "__main__":
    for name in main():
        print(f"rewrote {name}")
