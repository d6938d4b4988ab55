"""Options of `dlcore fit --protocol`, and lists of numbers written as text."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dlcore.cli.heads.options import LossName
from dlcore.devices import DeviceName

MAX_SEEDS = 10_000
"""The largest number of seeds of a range written as text."""


@dataclasses.dataclass
class ProtocolOptions:
    """Options of every protocol."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """File or folder, .parquet .csv .tsv .arrow .npy .npz .safetensors"""
    target: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """Column to predict"""
    features: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Columns to predict from; all others by default"""
    groups: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of groups, none of which is in two sets"""
    drop_missing: bool = False
    """Leave out rows with missing values"""
    seed: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """Seed of random sets, folds and resamples"""
    loss: Annotated[LossName, tyro.conf.arg(metavar="NAME")] = "auto"
    """auto, logistic, softmax, squared or poisson"""
    l2: Annotated[str | None, tyro.conf.arg(metavar="GRID")] = None
    """Penalties: 0.1,1 or LOW:HIGH:COUNT (default 1e-6:1e2:30)"""
    C: Annotated[str | None, tyro.conf.arg(metavar="GRID")] = None
    """In place of l2, C of scikit-learn"""
    scoring: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Score that chooses the penalty"""
    metrics: Annotated[str | None, tyro.conf.arg(metavar="A,B")] = None
    """Metrics of the test rows, such as accuracy,log_loss"""
    bootstrap: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Resamples for 95 % intervals of the metrics"""
    class_weight: Annotated[tuple[str, ...], tyro.conf.arg(metavar="W ...")] = ()
    """Weights of classes: balanced, or NAME=WEIGHT for each"""
    standardize: bool = False
    """Penalise standardised columns"""
    fit_intercept: bool = True
    """Fit an intercept"""
    tol: Annotated[float, tyro.conf.arg(metavar="TOL")] = 1e-6
    """Relative tolerance of the certificates"""
    device: Annotated[DeviceName, tyro.conf.arg(metavar="NAME")] = "auto"
    """auto, cpu, gpu or tpu"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """New folder for the table and the card"""
    overwrite: bool = False
    """Replace the files of a protocol in FOLDER"""
    json: bool = False
    """Print the card as JSON"""


@dataclasses.dataclass
class SetOptions(ProtocolOptions):
    """Options of a protocol with separate training, validation and test rows."""

    split: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Column of train, validation and test"""
    test: Annotated[float | None, tyro.conf.arg(metavar="FRACTION")] = None
    """Fraction of rows that test, at random"""
    validation: Annotated[float | None, tyro.conf.arg(metavar="FRACTION")] = None
    """Fraction of rows that choose the penalty"""
    duplicates: Annotated[Literal["refuse", "report"], tyro.conf.arg(metavar="HOW")] = "refuse"
    """refuse or report equal rows of two sets"""


@dataclasses.dataclass
class FewShotOptions(SetOptions):
    """Options of `few_shot`."""

    shots: Annotated[str, tyro.conf.arg(metavar="LIST")] = "1,5,10"
    """Rows of each class"""
    seeds: Annotated[str, tyro.conf.arg(metavar="LIST")] = "0:5"
    """Seeds of the subsets: 0,1,2 or FIRST:END"""
    refit: bool = False
    """Add the validation rows for the final heads"""


@dataclasses.dataclass
class LabelEfficiencyOptions(SetOptions):
    """Options of `label_efficiency`."""

    fractions: Annotated[str, tyro.conf.arg(metavar="LIST")] = "0.01,0.1,1"
    """Fractions of the rows that train"""
    seeds: Annotated[str, tyro.conf.arg(metavar="LIST")] = "0:5"
    """Seeds of the subsets: 0,1,2 or FIRST:END"""
    refit: bool = False
    """Add the validation rows for the final heads"""


@dataclasses.dataclass
class NestedOptions(ProtocolOptions):
    """Options of `nested_cross_validation`."""

    folds: Annotated[int, tyro.conf.arg(metavar="INT")] = 5
    """Outer folds, which score"""
    inner: Annotated[int, tyro.conf.arg(metavar="INT")] = 5
    """Inner folds, which choose the penalty"""


@dataclasses.dataclass
class SelectOptions(SetOptions):
    """Options of `select_penalty`."""

    folds: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Folds that choose without validation rows (default 5)"""
    refit: bool = True
    """Leave the validation rows out of the final head"""


PROTOCOLS: dict[str, type[ProtocolOptions]] = {
    "few-shot": FewShotOptions,
    "label-efficiency": LabelEfficiencyOptions,
    "nested": NestedOptions,
    "select": SelectOptions,
}
"""The options of each protocol, by its name."""


def option_names(options: type) -> set[str]:
    """Return the options of a dataclass as they are written, without the positional argument."""
    return {"--" + field.name.replace("_", "-") for field in dataclasses.fields(options)} - {"--data"}


def parse_integers(name: str, text: str) -> list[int]:
    """Return the integers of a text: numbers with commas, or FIRST:END without END.

    >>> parse_integers("--seeds", "0:3"), parse_integers("--seeds", "4,7")
    ([0, 1, 2], [4, 7])
    """
    try:
        if ":" not in text:
            return [int(part) for part in text.split(",")]
        first, end = map(int, text.split(":"))
        if not 0 < end - first <= MAX_SEEDS:
            raise ValueError
        return list(range(first, end))
    except ValueError:
        raise ValueError(
            f"{name}: expected integers such as 0,1,2, or FIRST:END such as 0:10, got {text!r}"
        ) from None


def parse_numbers(name: str, text: str) -> list[float]:
    """Return the numbers of a text with commas.

    >>> parse_numbers("--fractions", "0.1,1")
    [0.1, 1.0]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name}: expected numbers such as 0.1,1, got {text!r}") from None
