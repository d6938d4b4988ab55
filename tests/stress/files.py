"""Time of the process `dlcore fit FILE` beside a few lines of pandas and scikit-learn, on data of $DLCORE_DATA.

Both read one Parquet file, choose one of ten penalties by five folds on four fifths of the rows, and score the
other fifth. The first call of dlcore has an empty cache of programs, and the later ones a filled one. The files
and the report of `--out` are timed apart. The two scores are close, not equal, because the folds differ.

Command: scripts/bench files [--data california agaricus] [--repeats 3] [--peer-python PYTHON]
Takes: about a minute for both data sets of the default on two idle cores
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from processes import COMMAND, user_environment

LOSSES = {"california": "squared", "agaricus": "logistic", "a9a": "logistic", "mnist_t10k": "softmax"}
"""The data sets, with the loss of each."""
GRID = "1e-4:1:10"
PEER = """
import sys
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import accuracy_score, r2_score
table = pd.read_parquet(sys.argv[1])
train = table["side"] == 0
x, y = table.drop(columns=["y", "side"]).to_numpy(np.float32), table["y"].to_numpy()
grid, n = np.geomspace(1e-4, 1, 10), train.sum()
if sys.argv[2] == "squared":
    model = RidgeCV(alphas=grid * n / 2, cv=5)
else:
    model = LogisticRegressionCV(Cs=1 / (grid * n), cv=5, max_iter=2000, scoring="neg_log_loss")
predicted = model.fit(x[train], y[train]).predict(x[~train])
print((r2_score if sys.argv[2] == "squared" else accuracy_score)(y[~train], predicted))
"""
"""The program of the peer: a user's lines, whose arguments are the file and the loss."""


class Call(NamedTuple):
    """The time of a process in seconds, and its standard output."""

    seconds: float
    output: str


class Figures(NamedTuple):
    """Measurements of one data set.

    Attributes:
      rows: n.
      features: m.
      first: seconds of the first call, with an empty cache.
      later: the median of the later calls.
      with_files: the median of later calls with `--out`.
      data_report: the part of it that is the report on the data, as the card says.
      score: the held-out accuracy or R² of dlcore.
      peer: the median of the peer's calls, or None without pandas.
      peer_score: its held-out accuracy or R².
    """

    rows: int
    features: int
    first: float
    later: float
    with_files: float
    data_report: float
    score: float
    peer: float | None
    peer_score: float | None


def load(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows in float32, their targets, and 1 for each fifth row, which is held out."""
    with np.load(Path(os.environ["DLCORE_DATA"], f"{name}.npz"), allow_pickle=False) as file:
        x, y = file["X"].astype(np.float32), file["y"]
    x = x / np.float32(255) if name == "mnist_t10k" else x
    x = (x - x.mean(0)) / x.std(0) if name == "california" else x
    return x, y, (np.arange(len(x)) % 5 == 0).astype(np.int8)


def run_process(command: list[str], environment: dict[str, str]) -> Call:
    """Run a process to its end. A fit that is not certified, with the exit status 1, is timed too."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if not done.stdout:
        raise SystemExit(f"scripts/bench files: {' '.join(command[:4])} …: {done.stderr.strip()[-500:]}")
    return Call(seconds, done.stdout)


def median(calls: list[Call]) -> float:
    """Return the median time."""
    return statistics.median(call.seconds for call in calls)


def has_pandas(python: str) -> bool:
    """Return whether a Python has the packages of the peer."""
    packages = "import pandas, pyarrow, sklearn"
    return subprocess.run([python, "-c", packages], capture_output=True, check=False).returncode == 0


def measure(name: str, repeats: int, peer_python: str | None, folder: Path) -> Figures:
    """Time both programs on one data set.

    Args:
      name: the data set.
      repeats: the number of later calls of each kind.
      peer_python: the Python of the peer, or None.
      folder: an empty folder for the table, the cache and the files.
    """
    x, y, side = load(name)
    path = folder / f"{name}.parquet"
    columns = {f"x{j}": column for j, column in enumerate(x.T)} | {"y": y, "side": side}
    pq.write_table(pa.table(columns), path)
    environment = user_environment(DLCORE_CACHE=str(folder / "cache"))
    options = ["--target", "y", "--split", "side", "--loss", LOSSES[name], "--l2", GRID, "--folds", "5", "--json"]
    command = [*COMMAND, "fit", str(path), *options]
    first = run_process(command, environment)
    later = [run_process(command, environment) for _ in range(repeats)]
    files = [run_process([*command, "--out", str(folder / f"out{k}")], environment) for k in range(repeats)]
    reports = [json.loads(call.output)["seconds"]["report on the data"] for call in files]
    metric = "r2" if LOSSES[name] == "squared" else "accuracy"
    score = json.loads(first.output)["held_out"][metric]["value"]
    peer = []
    if peer_python is not None:
        peer = [
            run_process([peer_python, "-c", PEER, str(path), LOSSES[name]], environment) for _ in range(repeats)
        ]
    return Figures(
        x.shape[0],
        x.shape[1],
        first.seconds,
        median(later),
        median(files),
        statistics.median(reports),
        score,
        median(peer) if peer else None,
        float(peer[0].output) if peer else None,
    )


@dataclasses.dataclass
class Options:
    """The data sets and the peer."""

    data: tuple[Literal["california", "agaricus", "a9a", "mnist_t10k"], ...] = ("california", "agaricus")
    """The data sets."""
    repeats: int = 3
    """Calls of each kind after the first."""
    peer_python: str = sys.executable
    """A Python with pandas, pyarrow and scikit-learn."""


def main(options: Options) -> None:
    """Print the figures of each data set."""
    peer_python = options.peer_python if has_pandas(options.peer_python) else None
    if peer_python is None:
        print(f"{options.peer_python} lacks pandas, pyarrow or scikit-learn: dlcore is timed alone")
    for name in options.data:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(name, options.repeats, peer_python, Path(folder))
        print(
            f"{name} ({found.rows:,} × {found.features}): dlcore fit {found.first:.2f} s at first, "
            f"{found.later:.2f} s later, {found.with_files - found.later:.2f} s more for the files "
            f"({found.data_report:.2f} s of it the report on the data), held-out score {found.score:.4f}"
        )
        if found.peer is not None:
            print(
                f"   pandas and scikit-learn {found.peer:.2f} s, {found.peer / found.later:.2f} of dlcore's later "
                f"calls, held-out score {found.peer_score:.4f}"
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
