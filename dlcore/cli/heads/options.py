"""Options that the commands of heads share, and grids of penalties written as text."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro

from dlcore.cli import interrupts
from dlcore.cli.cache import cached_programs
from dlcore.data import Dataset, read, train_test_split
from dlcore.devices import find_device

LossName = Literal["auto", "logistic", "softmax", "squared", "poisson"]
CONFIG = (tyro.conf.FlagCreatePairsOff,)
"""Settings of tyro for the commands: one name for each flag."""
DEFAULT_GRID = "1e-6:1e2:30"
"""Penalties l2 where none are named."""
MAX_CLASSES = 20
"""The largest number of whole numbers that "auto" takes as classes."""
MAX_PENALTIES = 10_000
"""The largest number of penalties of a grid written as text."""


@dataclasses.dataclass
class DataOptions:
    """Options that say which columns of a table are read."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """File or folder, .parquet .csv .tsv .arrow .npy .npz .safetensors"""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """Column to predict"""
    features: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Columns to predict from; all others by default"""
    weight: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of weights of the rows"""
    groups: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of groups, which no split divides"""
    split: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of train and test"""
    test: Annotated[float | None, tyro.conf.arg(metavar="FRACTION")] = None
    """Fraction of rows held out at random"""
    seed: int = 0
    """Seed of the split"""
    drop_missing: bool = False
    """Leave out rows with missing values"""


def read_split(options: DataOptions, loss: str) -> tuple[Dataset, Dataset | None, str]:
    """Return the rows that train, those held out or None, and the loss.

    Classes keep their fractions, unless there are groups.
    """
    data = read(
        options.data,
        options.target,
        features=options.features or None,
        weight=options.weight,
        groups=options.groups,
        split=options.split,
        drop_missing=options.drop_missing,
    )
    assert data.target is not None
    loss = choose_loss(data.target) if loss == "auto" else loss
    if options.test is None and options.split is None:
        return data, None, loss
    stratify = loss in ("logistic", "softmax") and options.groups is None
    train, held = train_test_split(data, options.test, seed=options.seed, stratify=stratify)
    return train, held, loss


def choose_loss(target: np.ndarray) -> str:
    """Return the loss that suits a target.

    It is "logistic" or "softmax" for text, booleans and at most 20 whole numbers, and "squared" for other numbers.
    """
    values = np.unique(target)
    is_label = target.dtype.kind in "bU" or (len(values) <= MAX_CLASSES and (values == np.floor(values)).all())
    if not is_label:
        return "squared"
    return "logistic" if len(values) == 2 else "softmax"


def parse_grid(name: str, text: str) -> np.ndarray:
    """Return the penalties of a text: numbers with commas, or LOW:HIGH:COUNT on a logarithmic scale.

    >>> print(parse_grid("--l2", "1e-2:1:3"), parse_grid("--l2", "0,0.5"))
    [0.01 0.1  1.  ] [0.  0.5]
    """
    form = "numbers such as 0.1,1,10, or LOW:HIGH:COUNT such as 1e-6:1e2:50"
    try:
        if ":" not in text:
            values = np.array([float(part) for part in text.split(",")])
        else:
            low, high, count = text.split(":")
            low, high, count = float(low), float(high), int(count)
            if not (0 < low < high < np.inf and 2 <= count <= MAX_PENALTIES):
                raise ValueError
            values = np.geomspace(low, high, count)
    except ValueError:
        raise ValueError(f"{name}: expected {form}, got {text!r}") from None
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {text!r}")
    return values


def parse_penalties(l2: str | None, C: str | None) -> dict[str, np.ndarray]:
    """Return the penalties of `--l2` or `--C` by the name of their argument."""
    if l2 is not None and C is not None:
        raise ValueError("--C: expected --l2 or --C, got both")
    if C is not None:
        return {"C": parse_grid("--C", C)}
    return {"l2": parse_grid("--l2", l2 or DEFAULT_GRID)}


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Yield a list of the warnings of the block, which are also printed on standard error."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            messages.append(str(warning.message))
            interrupts.warn(messages[-1])


@contextlib.contextmanager
def command(device: str = "cpu") -> Iterator[None]:
    """Run the block of a command on a device, with cached programs; errors of the user end it with one line."""
    with interrupts.exit_on_error(ValueError, TypeError), interrupts.require_extra("all", "the command"):
        try:
            with cached_programs(), jax.default_device(find_device(device)):
                yield
        except MemoryError as error:
            interrupts.fail(f"dlcore: not enough memory: {error}", interrupts.FAILED)
