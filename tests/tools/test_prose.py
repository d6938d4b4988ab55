"""Check of the prose: it finds forbidden first words and long sentences, and skips code and tables."""

import prose
import pytest

pytestmark = pytest.mark.any_mode

LONG = " ".join(["word"] * 41) + "."


def test_a_docstring_that_begins_with_a_preposition_is_found():
    source = '"""Of a module."""\n\ndef f():\n    """Return a number."""\n\nclass C:\n    """What it is."""\n'
    assert list(prose.check_docstrings(source)) == [
        "1: the docstring of the module begins with 'Of'",
        "6: the docstring of C begins with 'What'",
    ]


@pytest.mark.parametrize(
    "text", [LONG, f"# Title\n\n{LONG}", f"Short.\n{LONG}", f"- {LONG}", f"1. item\n2. {LONG}"]
)
def test_a_long_sentence_is_found(text):
    (problem,) = prose.check_sentences(text)
    assert "41 words, at most 40: word" in problem


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("word word", "word. Word", 1),
        f"```\n{LONG}\n```",
        f"text\n\n    {LONG}",
        f"| {LONG} |",
        f"# {LONG}",
        " ".join(["`name`"] * 50),
        " ".join(["+ 1"] * 50),
        "one\n\n" * 50,
        "- one\n" * 50,
    ],
)
def test_code_tables_and_short_sentences_pass(text):
    assert list(prose.check_sentences(text)) == []


def test_a_paragraph_of_several_lines_is_one_sentence():
    (problem,) = prose.check_sentences("Title.\n\n" + LONG.replace(" ", "\n"))
    assert problem.startswith("3: 41 words")
