"""The examples of the page on protocols run as they stand there."""

import doctest

import pytest
from helpers import ROOT

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]


def test_the_examples_of_the_page():
    failed, attempted = doctest.testfile(
        str(ROOT / "docs" / "probing.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert attempted > 20
    assert failed == 0
