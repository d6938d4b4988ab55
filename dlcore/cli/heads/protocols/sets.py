"""Training, validation and test rows of a protocol, from a table."""

import dataclasses

import numpy as np

from dlcore.cli.heads.options import choose_loss
from dlcore.cli.heads.protocols.options import ProtocolOptions, SetOptions
from dlcore.data import Dataset, read
from dlcore.data.split import held_out_rows, rows_of_sets
from dlcore.probing import Rows

CLASSIFIERS = ("logistic", "softmax")


@dataclasses.dataclass(frozen=True)
class Sets:
    """The rows of a protocol.

    Attributes:
      data: the table that was read.
      loss: the name of the loss.
      index: row numbers of the sets "train", "validation" and "test", in this order; absent sets have no entry.
    """

    data: Dataset
    loss: str
    index: dict[str, np.ndarray]

    def rows(self, name: str) -> Rows | None:
        """Return the rows of a set, or None if it is absent."""
        if name not in self.index:
            return None
        rows = self.index[name]
        target, groups = self.data.target, self.data.groups
        assert target is not None
        return Rows(self.data.features[rows], target[rows], groups=None if groups is None else groups[rows])

    @property
    def n_classes(self) -> int | None:
        """The number of classes of the rows that train, or None for numbers."""
        if self.loss not in CLASSIFIERS or self.data.target is None:
            return None
        return len(np.unique(self.data.target[self.index["train"]]))


def read_sets(options: ProtocolOptions) -> Sets:
    """Read the table of a protocol, and return its rows by their sets."""
    column = options.split if isinstance(options, SetOptions) else None
    data = read(
        options.data,
        options.target,
        features=options.features or None,
        groups=options.groups,
        split=column,
        drop_missing=options.drop_missing,
    )
    assert data.target is not None
    loss = choose_loss(data.target) if options.loss == "auto" else options.loss
    if loss in CLASSIFIERS:
        data = dataclasses.replace(data, target=_as_labels(data.target))
    index = {"train": np.arange(len(data))}
    if isinstance(options, SetOptions):
        index = _split(options, data, loss)
    return Sets(data, loss, index)


def _as_labels(target: np.ndarray) -> np.ndarray:
    """Return whole numbers as integers, so that protocols stratify them; other labels as they are."""
    is_whole = target.dtype.kind == "f" and (target == np.floor(target)).all()
    return target.astype(np.int64) if is_whole else target


def _split(options: SetOptions, data: Dataset, loss: str) -> dict[str, np.ndarray]:
    """Return the row numbers of the sets, of a column or at random. Random sets divide no group."""
    parts = {"test": options.test or 0.0, "validation": options.validation or 0.0}
    for name in parts:
        given = getattr(options, name)
        if given is not None and data.split is not None:
            raise ValueError(f"--{name}: expected --split or fractions, got both")
        if given is not None and not 0 < given < 1:
            raise ValueError(f"--{name}: expected a fraction in (0, 1), got {given!r}")
    if data.split is not None:
        return rows_of_sets(data.split)
    if sum(parts.values()) >= 1:
        raise ValueError(f"--validation: expected less than 1 with --test, got {sum(parts.values()):g}")
    index, rest = {}, np.arange(len(data))
    stratify = loss in CLASSIFIERS and data.groups is None
    for name, part in parts.items():
        if part:
            fraction = part * len(data) / len(rest)
            held = held_out_rows(data.take(rest), fraction, seed=options.seed, stratify=stratify)
            index[name], rest = rest[held], rest[~held]
    index["train"] = rest
    return {name: index[name] for name in ("train", "validation", "test") if name in index}
