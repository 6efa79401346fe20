"""The book as one PDF."""

import book_pdf
from pypdf import PdfReader

NAMES = ["index", "02_forward_noising", "notation"]


def test_pages_are_printed_with_bookmarks_and_links_that_stay_inside(browser, built_book, tmp_path):
    path = tmp_path / "book.pdf"
    book_pdf.print_book(browser, path, NAMES)
    assert b"file:" not in path.read_bytes()
    pdf = PdfReader(path)
    starts = [pdf.get_destination_page_number(entry) for entry in pdf.outline]
    assert starts[0] == 0
    assert len(starts) == len(NAMES)
    assert starts == sorted(set(starts))
    words = [page.extract_text() for page in pdf.pages]
    assert "signal-to-noise" in " ".join(words[starts[1] : starts[2]])
    targets = set()
    for page in pdf.pages[: starts[1]]:
        for link in book_pdf.annotations(page):
            if "/Dest" in link:
                targets.add(pdf.get_page_number(link["/Dest"][0].get_object()))
    assert {starts[1], starts[2]} <= targets  # the index links to both of the others
    code = " ".join(words)
    assert "Show code cell" not in code
