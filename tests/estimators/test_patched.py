"""The plugin that puts dlcore's estimators in place of scikit-learn's."""

import runpy
from pathlib import Path

import pytest
import sklearn.linear_model

pytestmark = pytest.mark.any_mode


def test_an_import_replaces_nothing():
    """A run that collects examples imports every file: other tests must still compare with scikit-learn."""
    runpy.run_path(str(Path(__file__).with_name("patched.py")))
    assert sklearn.linear_model.LogisticRegression.__module__.startswith("sklearn.")
    assert sklearn.linear_model.Ridge.__module__.startswith("sklearn.")
