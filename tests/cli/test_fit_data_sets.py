"""Real data as Parquet, CSV and NumPy files: the held-out score is that of an independent optimum, certified."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from processes import call
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score

FOLDER = os.environ.get("DLCORE_DATA", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="needs the data of DLCORE_DATA")

LOSSES = {"california": "squared", "a9a": "logistic", "agaricus": "logistic", "mnist_t10k": "softmax"}
L2 = {"california": 1e-3, "a9a": 1e-3, "agaricus": 1e-3, "mnist_t10k": 0.1}


def load(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows, their targets and the side of each row. Pixels are between 0 and 1."""
    with np.load(Path(FOLDER, f"{name}.npz"), allow_pickle=False) as file:
        x, y = file["X"], file["y"]
    x = x.astype(np.float64) / 255 if name == "mnist_t10k" else x
    x = (x - x.mean(0)) / x.std(0) if name == "california" else x
    return x, y, (np.arange(len(x)) % 5 == 0).astype(np.int8)


def write(
    folder: Path, suffix: str, x: np.ndarray, y: np.ndarray, side: np.ndarray
) -> tuple[Path, tuple[str, str]]:
    """Write a table, and return its path with the names of the target and the split."""
    path = folder / f"t{suffix}"
    if suffix == ".npy":
        np.save(path, np.column_stack([x, y, side]))
        return path, (str(x.shape[1]), str(x.shape[1] + 1))
    columns: dict[str, Any] = {f"x{j}": column for j, column in enumerate(x.T)} | {"y": y, "side": side}
    if suffix == ".csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
        pq.write_table(pa.table({"x": lists, "y": y, "side": side}), path)
    return path, ("y", "side")


@pytest.fixture(scope="module")
def peer_scores() -> dict[str, float]:
    return {}


def peer_score(name: str, x: np.ndarray, y: np.ndarray, held: np.ndarray) -> float:
    """Return the held-out accuracy or R² of scikit-learn's optimum."""
    n = int((~held).sum())
    if LOSSES[name] == "squared":
        peer = Ridge(alpha=L2[name] * n / 2, solver="cholesky").fit(x[~held], y[~held])
        return float(r2_score(y[held], peer.predict(x[held])))
    peer = LogisticRegression(C=1 / (L2[name] * n), tol=1e-10, max_iter=100_000, solver="lbfgs")
    return float(peer.fit(x[~held], y[~held]).score(x[held], y[held]))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npy"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_score_of_a_file_is_that_of_the_optimum(name, suffix, tmp_path, peer_scores):
    """Both heads are certified optima, so that no held-out row is near enough to a boundary to change sides."""
    x, y, side = load(name)
    path, (target, split) = write(tmp_path, suffix, x, y, side)
    if name not in peer_scores:
        peer_scores[name] = peer_score(name, x, y, side == 1)
    options = ("--loss", LOSSES[name], "--l2", str(L2[name]), "--folds", "0", "--tol", "1e-9", "--json")
    done = call("fit", path, "--target", target, "--split", split, *options)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["chosen"]["status"] == "converged"
    metric = "r2" if LOSSES[name] == "squared" else "accuracy"
    value = card["held_out"][metric]["value"]
    if metric == "r2":
        assert value == pytest.approx(peer_scores[name], abs=1e-9)
    else:
        assert value == pytest.approx(peer_scores[name], abs=0.5 / (side == 1).sum())
