"""A checkpoint: results of finished stages in a file, from which a later call continues.

A stage depends only on the arguments and on earlier stages. A resumed call therefore returns the bits of an
uninterrupted call on the same machine.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore._core import archive
from dlcore.certificate.rows import HostTable
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.progress import Reporter

KIND, FORMAT = "checkpoint of dlcore heads", 3
UNCHECKED = 2
"""The older format of files without checksums, which is read too."""

SHARE = 20
"""The least time between two writes, as a multiple of the duration of the last write."""
SAMPLE_ROWS = 1_024
"""Rows of x that enter its digest, evenly spaced. All other arrays enter whole."""

Found = dict[str, np.ndarray]
Form = Mapping[str, tuple[str, Sequence[int | None]]]
"""The dtype and shape of each array of a stage's result, as `archive.check_array` takes them."""


class StageCache:
    """Results of the finished stages.

    On leaving the context, also after an error, new results are written to the file.
    """

    def __init__(self, path: Path | None, problem: dict[str, str], reporter: Reporter | None = None) -> None:
        self.path, self.problem, self.reporter = path, problem, reporter
        self.done: dict[str, Found] = {}
        self._written, self._took, self._new = -np.inf, 0.0, False
        if path is not None and path.exists():
            self.done = _read(path, problem)

    def once(self, name: str, make: Callable[[], Found], form: Form, absent: Sequence[str] = ()) -> Found:
        """Return the result of a stage, from the file or from `make`.

        Args:
          name: the name of the stage. A stage of certificates is called "… of KEY": the progress counts heads of
            one key once, and the last certificates replace earlier ones.
          make: a function that computes the result.
          form: the dtype and shape of each array of the result.
          absent: the arrays of `form` that the result may lack.

        Raises:
          ValueError: if the result in the file has another form.
        """
        if name in self.done:
            assert self.path is not None
            with archive.damage_as_value_error("checkpoint", self.path, KIND):
                _check(name, self.done[name], form, absent)
            return self._reported(name, self.done[name])
        found = make()
        if self.path is not None:
            self.done[name], self._new = found, True
            if time.monotonic() - self._written >= SHARE * self._took:
                self._write()
        return self._reported(name, found)

    def _reported(self, name: str, found: Found) -> Found:
        """Report the certificates of a stage's result, and return the result."""
        if self.reporter is not None and "gap" in found:
            self.reporter.certified(name.rpartition(" of ")[2], found["gap"])
        return found

    def on(
        self,
        name: str,
        holder: object,
        arrays: Sequence[str],
        where: np.ndarray | slice | tuple[np.ndarray, ...],
        make: Callable[[], Any],
        answer: tuple[str, Sequence[int]] | None = None,
    ) -> Any:
        """Run a stage that changes arrays of `holder`, or apply the changes from the file.

        Args:
          name: the name of the stage.
          holder: the object whose arrays are changed.
          arrays: the names of these arrays.
          where: the entries that change.
          make: a function that changes the arrays, and returns the stage's value.
          answer: dtype and shape of the value.

        Returns:
          The stage's value, an array or None.
        """

        def changed() -> Found:
            answer = make()
            found = {key: getattr(holder, key)[where] for key in arrays}
            return found if answer is None else found | {"": answer}

        parts = {key: getattr(holder, key) for key in arrays}
        form = {key: (part.dtype.name, part[where].shape) for key, part in parts.items()}
        form |= {} if answer is None else {"": answer}
        found = self.once(name, changed, form, absent=("",))
        for key in arrays:
            getattr(holder, key)[where] = found[key]
        return found.get("")

    def __enter__(self) -> "StageCache":
        return self

    def __exit__(self, *error: object) -> None:
        if self._new:
            self._write()

    def _write(self) -> None:
        """Write all finished stages to the file."""
        assert self.path is not None
        start = time.monotonic()
        names = list(self.done)
        about = {"kind": KIND, "format": FORMAT, "problem": self.problem, "stages": names}
        arrays = {f"{i}.{key}": part for i, name in enumerate(names) for key, part in self.done[name].items()}
        archive.write(self.path, about, arrays)
        self._written = time.monotonic()
        self._took, self._new = self._written - start, False


def _read(path: Path, problem: dict[str, str]) -> dict[str, Found]:
    """Return the finished stages of a file of this problem."""
    about, arrays = archive.read("checkpoint", path, KIND, FORMAT, UNCHECKED)
    archive.check_same_problem("checkpoint", path, about.get("problem"), problem)
    with archive.damage_as_value_error("checkpoint", path, KIND):
        done: dict[str, Found] = {name: {} for name in about["stages"]}
        for key, array in arrays.items():
            number, _, name = key.partition(".")
            done[about["stages"][int(number)]][name] = array
    return done


def _check(stage: str, found: Found, form: Form, absent: Sequence[str]) -> None:
    """Raise a ValueError unless a result has arrays of that form."""
    unknown, missing = found.keys() - form.keys(), form.keys() - found.keys() - {*absent}
    if unknown or missing:
        raise ValueError(f"{stage}: expected {', '.join(sorted(form))}, got {', '.join(sorted(found))}")
    for name, array in found.items():
        archive.check_array(f"{stage}: {name}", array, *form[name], may_be_nan=True)


def problem_of(inputs: TrainingData, **settings: object) -> dict[str, str]:
    """Return texts that identify the arguments, on which all stages depend."""
    digest = archive.digest
    balance = "" if inputs.balance is None else f" {digest(inputs.balance)}"
    found = {
        "shape of x": f"{inputs.x.shape} {inputs.x.dtype}",
        "contents of x": digest(_sample(inputs.x)),
        "y": f"{inputs.y.shape} {inputs.y.dtype} {digest(inputs.y)}",
        "weights": f"{digest(inputs.score_weight)} {digest(inputs.weight)}{balance}",
        "l2": f"{inputs.l2.shape} {digest(inputs.l2)}",
        "folds": f"{len(inputs.train) - 1} {digest(inputs.train)} {digest(inputs.test)}",
        "standardize": repr(inputs.standardize),
        "validation": "None",
    }
    if inputs.validation is not None:
        x, y, weight, _ = inputs.validation
        parts = (_sample(x), y, weight)
        found["validation"] = f"{x.shape} {x.dtype} {y.dtype} {' '.join(map(digest, parts))}"
    return found | {name: repr(value) for name, value in settings.items()}


def _sample(x: HostTable) -> np.ndarray:
    """Return the rows that identify a table, as a dense array."""
    return x[np.unique(np.linspace(0, len(x) - 1, SAMPLE_ROWS).astype(np.int64))]
