"""The chapters' quizzes: a directive of the book, and GIFT for learning platforms.

In a page, with instructor/quizzes.yml as the source:

    :::{quiz} 05_ddim
    What a reader sees where the directive is unknown, as in Colab.
    :::

python tools/quiz.py quizzes.gift     all questions for Moodle and others that read GIFT
"""

import argparse
import re
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SOURCE = Path(__file__).parent.parent / "instructor/quizzes.yml"
CODE = re.compile(r"`([^`]+)`")
MATH = re.compile(r"\$([^$]+)\$")
SPECIAL = re.compile(r"([~=#{}:\\])")


def read_quizzes() -> dict[str, list[dict]]:
    """Return questions by chapter; each has "answers" with "text", "feedback", one with "right"."""
    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


class Quiz(SphinxDirective):
    """Questions with one right answer; each answer shows its feedback when it is chosen.

    Style sheets alone do this (book/_static/book.css), so it works with scripts off.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the quiz of the chapter named by the argument."""
        chapter = self.arguments[0]
        quizzes = read_quizzes()
        if chapter not in quizzes:
            raise self.error(f"{SOURCE.name} has no quiz {chapter!r}, only {', '.join(quizzes)}")
        self.env.note_dependency(str(SOURCE))
        box = nodes.container(classes=["quiz"])
        box += nodes.paragraph(text="Each answer shows its feedback when you choose it.")
        for i, question in enumerate(quizzes[chapter], 1):
            box += self.html("<fieldset><legend>")
            box += self.words(f"{i}. {question['question']}")
            box += self.html("</legend>")
            for j, answer in enumerate(question["answers"]):
                name, kind = f"quiz-{chapter}-{i}", "right" if answer.get("right") else "wrong"
                box += self.html(
                    f'<div class="quiz-answer"><input type="radio" name="{escape(name)}" '
                    f'id="{escape(name)}-{j}"><label for="{escape(name)}-{j}">'
                )
                box += self.words(answer["text"])
                box += self.html(f'</label><div role="status"><p class="quiz-{kind}">')
                box += self.words(("" if kind == "right" else "No. ") + answer["feedback"])
                box += self.html("</p></div></div>")
            box += self.html("</fieldset>")
        return [box]

    def html(self, text: str) -> nodes.Node:
        """Return a node with a piece of HTML."""
        return nodes.raw("", text, format="html")

    def words(self, text: str) -> list[nodes.Node]:
        """Return the nodes of a text with its formulas."""
        return self.state.inline_text(text, self.lineno)[0]


def gift(quizzes: dict[str, list[dict]]) -> str:
    """Return all questions in GIFT, the text format of Moodle's question bank."""
    blocks = []
    for chapter, questions in quizzes.items():
        blocks.append(f"$CATEGORY: tigerdiff/{chapter}")
        for i, question in enumerate(questions, 1):
            answers = "\n".join(
                f"  {'=' if answer.get('right') else '~'}{gift_text(answer['text'])}"
                f"#{gift_text(answer['feedback'])}"
                for answer in question["answers"]
            )
            text = gift_text(question["question"])
            blocks.append(f"::{chapter} {i}::[html]{text} {{\n{answers}\n}}")
    return "\n\n".join(blocks) + "\n"


def gift_text(text: str) -> str:
    r"""Return a text as HTML with GIFT's signs escaped, and formulas between \( and \)."""
    text = CODE.sub(r"<code>\1</code>", escape(text, quote=False))
    return SPECIAL.sub(r"\\\1", MATH.sub(r"\\(\1\\)", text))


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("quiz", Quiz)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="what to write, such as quizzes.gift")
    file = parser.parse_args().file
    file.write_text(gift(read_quizzes()), encoding="utf-8")
    print(f"{file}: {sum(map(len, read_quizzes().values()))} questions")
