"""Settings of the tests of metrics."""

import pytest
import sklearn


@pytest.fixture(autouse=True)
def unchecked_scikit_learn():
    """Skip the checks of scikit-learn's arguments, which take longer than its metrics on a few rows."""
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        yield
