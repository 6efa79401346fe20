"""The quizzes: complete, usable in the built page with no script or mouse, readable as GIFT."""

import re
from html import unescape
from pathlib import Path

import pytest
import quiz

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.stem for path in ROOT.glob("book/[01]*.ipynb"))
QUIZZES = quiz.read_quizzes()


def test_every_question_is_complete():
    for chapter, questions in QUIZZES.items():
        assert len(questions) == 5
        for question in questions:
            assert set(question) == {"question", "answers"}
            answers = question["answers"]
            assert len(answers) >= 3
            assert [answer.get("right", False) for answer in answers].count(True) == 1, question
            for key in ("text", "feedback"):
                assert len({answer[key] for answer in answers}) == len(answers), question
            for answer in answers:
                assert answer["feedback"].startswith("Yes") == answer.get("right", False), answer
        places = [[a.get("right", False) for a in q["answers"]].index(True) for q in questions]
        assert len(set(places)) > 1, f"{chapter}: the right answer always has the same place"


def test_each_chapter_of_part_one_shows_its_quiz():
    assert set(QUIZZES) <= set(CHAPTERS)
    for chapter in QUIZZES:
        assert f":::{{quiz}} {chapter}" in (ROOT / f"book/{chapter}.ipynb").read_text("utf-8")
    assert {name for name in CHAPTERS if name < "07"} <= set(QUIZZES)


def test_gift_gives_back_every_word():
    """Read by a parser of its own, written after the format's description."""
    found, chapter = {}, None
    for block in re.split(r"\n\n", quiz.gift(QUIZZES).strip()):
        if block.startswith("$CATEGORY: tigerdiff/"):
            chapter = block.partition("/")[2]
            found[chapter] = []
            continue
        head = re.fullmatch(r"::(.+?)::\[html\](.+?)(?<!\\)\{\n(.+)\n\}", block, re.DOTALL)
        answers = []
        for line in head[3].split("\n"):
            sign, rest = line.strip()[0], line.strip()[1:]
            text, feedback = re.split(r"(?<!\\)#", rest)
            answer = {"text": plain(text), "feedback": plain(feedback)}
            answers.append(answer | ({"right": True} if sign == "=" else {}))
        found[chapter].append({"question": plain(head[2].strip()), "answers": answers})
    assert found == QUIZZES


def plain(text):
    """What a platform shows; Markdown would take the backslashes of the formulas."""
    shown = re.sub(r"\\([~=#{}:\\])", r"\1", text)
    assert not re.search(r"<(?!/?code>)|[`$]|->", shown), shown
    return unescape(re.sub(r"</?code>", "`", re.sub(r"\\\(|\\\)", "$", shown)))


def test_an_unknown_chapter_is_an_error_that_names_the_file(tmp_path):
    from sphinx.application import Sphinx

    (tmp_path / "conf.py").write_text('extensions = ["myst_parser", "quiz"]\n', encoding="utf-8")
    page = "# A\n\n```{quiz} 99_none\n```\n\n```{quiz} 05_ddim\n```\n"
    (tmp_path / "index.md").write_text(page, encoding="utf-8")
    warnings = tmp_path / "warnings.txt"
    with warnings.open("w+", encoding="utf-8") as said:
        Sphinx(tmp_path, tmp_path, tmp_path / "out", tmp_path / "tree", "html", warning=said,
               status=None).build()  # fmt: skip
        said.seek(0)
        assert "quizzes.yml has no quiz '99_none'" in said.read()
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert html.count("<fieldset>") == 5
    assert html.count('type="radio"') == sum(len(q["answers"]) for q in QUIZZES["05_ddim"])


@pytest.mark.parametrize("scripts", [True, False])
def test_a_quiz_answers_to_the_keyboard(browser, site_url, scripts):
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(f"{site_url}/05_ddim.html", wait_until="domcontentloaded")
    first = page.locator(".quiz fieldset").first
    answers = QUIZZES["05_ddim"][0]["answers"]
    replies = first.locator("[role=status] p")
    assert [replies.nth(i).is_visible() for i in range(len(answers))] == [False] * len(answers)
    first.locator("input").first.focus()
    page.keyboard.press("Space")
    for i, answer in enumerate(answers):
        shown = [replies.nth(j).is_visible() for j in range(len(answers))]
        assert shown == [j == i for j in range(len(answers))]
        words = replies.nth(i).inner_text()
        assert words.startswith("Yes" if answer.get("right") else "No.")
        page.keyboard.press("ArrowDown")
    context.close()


def test_the_tab_key_passes_formulas_by(browser, site_url):
    """From answer to answer, past the formulas of the page and the questions."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(f"{site_url}/05_ddim.html")
    page.wait_for_function(
        "[...document.querySelectorAll('article .math')]"
        ".every(formula => formula.querySelector('mjx-container'))"
    )
    assert page.locator(".quiz mjx-container").count() > 0
    assert page.locator("mjx-container[tabindex='0']").count() == 0
    fieldsets = page.locator(".quiz fieldset")
    fieldsets.first.locator("input").first.focus()
    for k in range(1, fieldsets.count()):
        page.keyboard.press("Tab")
        assert fieldsets.nth(k).locator("input:focus").count() == 1
    context.close()
