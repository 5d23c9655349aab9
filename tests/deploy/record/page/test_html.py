import pytest

from deploy.record.page.html import (
    Card,
    Section,
    Verdict,
    as_json,
    cards,
    film,
    find_film,
    folded,
    page,
    paragraph,
    shown,
    table,
)

EVIL = "<script>alert('x')</script>&\"</details>"


def test_no_text_is_markup():
    parts = [
        cards([Card(EVIL, EVIL, EVIL)]),
        table([EVIL], [[EVIL]]),
        folded(EVIL, paragraph(EVIL)),
        as_json({EVIL: [EVIL]}),
        page(EVIL, Verdict(EVIL, EVIL), [Card(EVIL, EVIL)], [Section(EVIL, paragraph(EVIL))]),
    ]
    for part in parts:
        assert "&lt;script&gt;" in part
        assert "<script" not in part
        assert part.count("</details>") == ("<details>" in part)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (0.12345, "0.123"),
        (123456.7, "123,457"),
        (7, "7"),
        ("a", "a"),
    ],
)
def test_values_as_people_read_them(value, text):
    assert shown(value) == text


def test_a_small_film_is_in_the_page_and_a_large_one_is_named(tmp_path):
    small, large = tmp_path / "a.mp4", tmp_path / "b.gif"
    small.write_bytes(b"abc")
    large.write_bytes(bytes(2_000_000))
    assert find_film([tmp_path / "c.gif", small, large]) == small
    assert find_film([tmp_path / "c.gif"]) is None
    assert 'src="data:video/mp4;base64,YWJj"' in film(small)
    assert film(large) == '<p class="note">The film b.gif has 2.0 MB, too much for this page.</p>'
    assert film(None) == ""
