"""Two public protocols on real data, and the heads of the chosen C and its neighbours against an oracle."""

import os
from pathlib import Path

import numpy as np
import pytest
from stress import probing as trial

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.skipif(
        not (Path(os.environ.get("DLCORE_DATA", "")) / "a9a.npz").exists() or "DLCORE_DATA" not in os.environ,
        reason="MNIST and a9a are read from $DLCORE_DATA, and there are none there",
    ),
    pytest.mark.filterwarnings("ignore:C. .* choices are at the edge:dlcore.GridEdgeWarning"),
]


@pytest.mark.parametrize("name", ["mnist", "a9a"])
@pytest.mark.parametrize("protocol", ["dinov3", "torchgeo"])
def test_heads_at_the_chosen_C_equal_the_oracle(protocol, name):  # noqa: N802
    sets = trial.load(name, 600, pooled=True)
    table = trial.dinov3(sets) if protocol == "dinov3" else trial.torchgeo(sets)
    assert set(table["status"]) == {"converged"}
    assert len(table) == (46 if protocol == "dinov3" else 41)
    final = table.select(stage="refit")
    assert final["test_accuracy"][0] > 0.75
    if protocol == "torchgeo":
        assert final["test_accuracy_low"][0] < final["test_accuracy"][0] < final["test_accuracy_high"][0]
    found = trial.check_against_oracle(table, sets)
    assert len(found) >= 3
    for C, difference, gap in found:
        assert gap <= 1e-11, C
        assert abs(difference) <= 1e-10, C
    assert np.all(np.isnan(table.select(stage="sweep")["test_accuracy"]))
