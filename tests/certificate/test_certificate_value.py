"""Certificates and data reports as values: equality, hash, short repr, tables in HTML, deprecated arguments."""

import copy
import dataclasses
import html.parser
import pickle

import numpy as np
import pytest

from dlcore import Certificate, LinearHeads, certify
from dlcore.certificate import data_report

pytestmark = pytest.mark.any_mode

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] + np.random.default_rng(1).logistic(size=60) > 0).astype(int)


def several_heads(count: int = 3) -> LinearHeads:
    return LinearHeads(np.zeros((count, 3)), 0.0, np.geomspace(1e-3, 1, count))


class Cells(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs).get("scope")))

    def handle_data(self, data):
        self.text += data


def test_certificates_are_equal_array_by_array():
    certificate, again = certify(several_heads(), X, Y, report=True), certify(several_heads(), X, Y, report=True)
    assert certificate == again
    assert hash(certificate) == hash(again)
    assert len({certificate, again, certify(several_heads(), X, Y)}) == 2
    assert certificate != dataclasses.replace(certificate, gap=2 * certificate.gap)
    assert certificate != dataclasses.replace(certificate, gap=certificate.gap[:2])
    assert certificate != dataclasses.replace(certificate, report=None)
    assert certificate != "certificate"
    assert pickle.loads(pickle.dumps(certificate)) == copy.deepcopy(certificate) == certificate


def test_certificates_with_nan_are_equal():
    """A certificate that was loaded from an old file has nan for J₀ and E."""
    numbers = np.array([1.0, np.nan])
    assert Certificate(numbers, numbers, numbers, numbers, ("duality",) * 2) == Certificate(
        numbers.copy(), numbers, numbers, numbers, ("duality",) * 2
    )
    assert Certificate(1.0, 1.0, np.inf, 0.0, "none") == Certificate(1.0, 1.0, np.inf, 0.0, "none")
    assert Certificate(1.0, 1.0, np.inf, 0.0, "none") != Certificate(1.0, 1.0, 1.0, 0.0, "none")


def test_reports_are_equal_array_by_array():
    separable = (X[:, 0] > 0).astype(int)
    report, again = data_report(X, separable), data_report(X, separable)
    assert report.direction is not None
    assert report == again
    assert hash(report) == hash(again)
    assert report != dataclasses.replace(report, direction=-report.direction)
    assert report != dataclasses.replace(report, direction=None)
    assert data_report(np.ones((4, 2)), [0, 1, 0, 1]) == data_report(
        np.ones((4, 2)), [0, 1, 0, 1]
    )  # nan conditions
    assert report != data_report(X, Y)


def test_repr_is_a_line_without_arrays():
    single = certify(LinearHeads(np.zeros(3), 0.0, 0.1), X, Y)
    assert repr(single) == f"Certificate(J 0.6931, gap {single.gap:.2g}, duality)"
    many = certify(several_heads(30), X, Y)
    assert repr(many) == f"Certificate(30 heads, 0 of 30 converged at tol 1e-06, worst gap {many.gap.max():.2g})"
    converged = dataclasses.replace(many, gap=np.zeros(30))
    assert repr(converged) == "Certificate(30 heads, all converged at tol 1e-06, worst gap 0)"
    assert repr(data_report(X, Y)) == "DataReport(60 rows, 3 columns, float64, rank 3, classes not separable)"
    assert repr(data_report(X, loss="squared")) == "DataReport(60 rows, 3 columns, float64, rank 3)"


def test_tables_in_html_are_short_escaped_and_have_headers():
    many = certify(several_heads(100), X, Y, report=True)
    page = Cells(many._repr_html_())
    tags = [tag for tag, _ in page.tags]
    assert tags.count("tr") == 21
    assert "caption" in tags
    assert all(scope in ("col", "row") for tag, scope in page.tags if tag == "th")
    assert "… 80 more" in page.text
    assert "classes: not separable" in page.text
    hostile = dataclasses.replace(certify(LinearHeads(np.zeros(3), 0.0, 0.1), X, Y), heads_device="<script>")
    assert "<script>" not in hostile._repr_html_()
    assert "<script>" in Cells(hostile._repr_html_()).text
    report = Cells(data_report(np.ones((5, 2)), [0, 1, 0, 1, 1])._repr_html_())
    assert "constant columns0, 1" in report.text
    assert all(scope in ("col", "row") for tag, scope in report.tags if tag == "th")


def test_options_by_position_are_deprecated():
    heads = several_heads()
    cases = [
        ((True,), certify(heads, X, Y, tight=True)),
        ((False, True), certify(heads, X, Y, report=True)),
    ]
    for options, expected in cases:
        with pytest.warns(DeprecationWarning, match="tight and report by position are deprecated") as warned:
            certificate = certify(heads, X, Y, None, *options)
        assert warned[0].filename == __file__
        assert certificate == expected
    with pytest.raises(TypeError, match="at most 6 positional arguments, got 7"):
        certify(heads, X, Y, None, True, False, True)
    with (
        pytest.warns(DeprecationWarning, match="position"),
        pytest.raises(TypeError, match="tight: expected True or False, got 1"),
    ):
        certify(heads, X, Y, None, 1)  # pyright: ignore[reportArgumentType]
