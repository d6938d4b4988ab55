"""The list of slow tests: what a line means, and that it names tests that exist."""

import pytest
from slow_tests import FILE, read_entries, unknown

pytestmark = pytest.mark.any_mode

TEXT = """
# a comment
a/test_a.py::test_all
a/test_a.py::test_only | only | 1 | 2, three
a/test_a.py::test_not | not | 1
"""
ENTRIES = read_entries(TEXT)


def test_a_line_says_which_variants_are_slow():
    slow = {name: [v for v in ("", "1", "2, three", "4") if entry.is_slow(v)] for name, entry in ENTRIES.items()}
    assert list(slow.values()) == [["", "1", "2, three", "4"], ["", "4"], ["1"]]


def test_names_without_a_test_are_found_where_their_file_was_collected():
    there = {"a/test_a.py::test_only": {"1", "4"}, "a/test_a.py::test_not": {"1"}}
    assert list(unknown(ENTRIES, there)) == ["a/test_a.py::test_all", "a/test_a.py::test_only[2, three]"]
    assert not list(unknown(ENTRIES, {"b/test_b.py::test_b": {""}}))


def test_the_file_has_entries():
    assert len(read_entries(FILE.read_text())) > 50
