"""Command `dlcore fit`: from a table to a certified model."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dlcore._core.blas_threads import one_blas_thread
from dlcore.certificate import DataReport, data_report
from dlcore.cli import interrupts
from dlcore.cli.console import ShowWork, describe_device, print_result, work_progress
from dlcore.cli.heads.card import card
from dlcore.cli.heads.class_weight import read_class_weight, weights_of_rows
from dlcore.cli.heads.intervals import held_out_metrics
from dlcore.cli.heads.options import (
    CONFIG,
    DataOptions,
    LossName,
    command,
    parse_penalties,
    read_split,
    recorded_warnings,
)
from dlcore.cli.heads.outputs import check_folder, checkpoint_of, write_outputs
from dlcore.cli.heads.protocols.command import run as run_protocol
from dlcore.cli.heads.protocols.command import split_protocol
from dlcore.cli.heads.result import Clock, FitResult
from dlcore.data import Dataset
from dlcore.devices import DeviceName, find_device
from dlcore.export import model_of
from dlcore.heads import Heads, fit_heads

EXAMPLE = "Example: dlcore fit houses.parquet --target price --loss squared --test 0.2 --out houses"
STAGES = {"fit": "heads fitted", "certify": "heads certified", "refine": "heads refined"}
"""Descriptions of the stages of `fit_heads`."""
MAX_REPORT_NUMBERS = 2**27
"""The largest n·m of the training data whose report is made."""
MAX_SEPARATION_NUMBERS = 2**20
"""The largest n·m·outputs for which the report says whether the classes are separable."""


@dataclasses.dataclass
class Options(DataOptions):
    """Options of the command."""

    loss: Annotated[LossName, tyro.conf.arg(metavar="NAME")] = "auto"
    """auto, logistic, softmax, squared or poisson"""
    l2: Annotated[str | None, tyro.conf.arg(metavar="GRID")] = None
    """Penalties: 0.1,1 or LOW:HIGH:COUNT (default 1e-6:1e2:30)"""
    C: Annotated[str | None, tyro.conf.arg(metavar="GRID")] = None
    """In place of l2, C of scikit-learn"""
    folds: int = 5
    """Folds that choose the penalty; 0 for none"""
    scoring: Annotated[str | None, tyro.conf.arg(metavar="METRIC")] = None
    """Metric that ranks penalties"""
    class_weight: Annotated[tuple[str, ...], tyro.conf.arg(metavar="W ...")] = ()
    """Weights of classes: balanced, or NAME=WEIGHT for each"""
    standardize: bool = False
    """Penalise standardised columns"""
    fit_intercept: bool = True
    """Fit an intercept"""
    tol: float = 1e-6
    """Relative tolerance of the certificate"""
    device: Annotated[DeviceName, tyro.conf.arg(metavar="NAME")] = "auto"
    """auto, cpu, gpu or tpu"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """New folder for the model, card, sweep and report"""
    overwrite: bool = False
    """Replace the files of a fit in FOLDER"""
    protocol: Annotated[str | None, tyro.conf.arg(metavar="P")] = None
    """few-shot, label-efficiency, nested or select; see --protocol P --help"""
    data_report: bool = True
    """Leave the report on the data out of FOLDER"""
    json: bool = False
    """Print the card as JSON"""


def run(arguments: Sequence[str]) -> None:
    """Fit, print the card and write the files; exit with 1 if the chosen head is not certified.

    With `--protocol` the protocol is run in place of a single fit.
    """
    protocol, others = split_protocol(arguments)
    if protocol is not None:
        run_protocol(protocol, others)
        return
    options = tyro.cli(
        Options,
        prog="dlcore fit",
        args=list(arguments),
        description=f"Fit linear heads of every penalty and fold, and certify them. {EXAMPLE}",
        config=CONFIG,
    )
    with command(options.device):
        result = fit(options)
    if options.json:
        print_result(result.to_json())
    else:
        print(card(result, None if options.out is None else str(options.out)))
    if not result.converged:
        interrupts.fail(
            f"dlcore fit: the chosen head is not certified to --tol {options.tol:g}: {result.model.status}",
            interrupts.FAILED,
        )


def fit(options: Options) -> FitResult:
    """Read, fit, score the rows held out and write the files.

    A checkpoint beside the folder lasts until the folder is complete, so that an interrupted command can go on.
    """
    if options.overwrite and options.out is None:
        raise ValueError("--overwrite: expected --out too, got none")
    folder = None if options.out is None else check_folder("--out", options.out, overwrite=options.overwrite)
    checkpoint = None if folder is None else checkpoint_of(folder)
    with _resume_hint(checkpoint), work_progress() as progress:
        result = _fit(options, checkpoint, progress)
        if folder is not None and checkpoint is not None:
            write_outputs(folder, result)
            checkpoint.unlink(missing_ok=True)
    return result


def _fit(options: Options, checkpoint: Path | None, progress: ShowWork) -> FitResult:
    penalties = read_penalties(options)
    clock = Clock()
    progress("read", 0, 1)
    train, held, loss = read_split(options, options.loss)
    class_weight = read_class_weight(options.class_weight, train, loss)
    progress("read", 1, 1)
    clock.lap("read")
    with recorded_warnings() as messages:
        heads = _fit_heads(options, train, loss, class_weight, penalties, checkpoint, progress)
    clock.lap("fit")
    index = heads.best if heads.best is not None else 0
    model = dataclasses.replace(model_of(heads, index, feature_names=train.names), class_weight=class_weight)
    metrics = {} if held is None else held_out_metrics(model, held, options.seed, progress)
    clock.lap("score")
    report = None
    if options.out is not None and options.data_report:
        progress("report on the data", 0, 1)
        report = _report(train, heads, weights_of_rows(class_weight, train))
        progress("report on the data", 1, 1)
        clock.lap("report on the data")
    return FitResult(
        train=train,
        held=held,
        heads=heads,
        index=index,
        model=model,
        metrics=metrics,
        report=report,
        seconds=_seconds(clock, heads),
        warnings=messages,
        device=describe_device(find_device(options.device)),
    )


def read_penalties(options: Options) -> dict[str, np.ndarray]:
    """Return the penalties by the name of their argument."""
    grid = parse_penalties(options.l2, options.C)
    if options.folds < 2 and options.folds != 0:
        raise ValueError(f"--folds: expected 0 or at least 2, got {options.folds}")
    (count,) = map(len, grid.values())
    if options.folds == 0 and count > 1:
        raise ValueError(f"--folds: expected at least 2 to choose one of {count} penalties, got 0")
    return grid


def _fit_heads(
    options: Options,
    train: Dataset,
    loss: str,
    class_weight: np.ndarray | None,
    penalties: dict[str, np.ndarray],
    checkpoint: Path | None,
    progress: ShowWork,
) -> Heads:
    assert train.target is not None
    weights = None
    if class_weight is not None:
        weights = dict(zip(np.unique(train.target).tolist(), class_weight.tolist(), strict=True))
    return fit_heads(
        train.features,
        train.target,
        loss=loss,
        l2=penalties.get("l2"),
        C=penalties.get("C"),
        folds=options.folds or None,
        groups=train.groups if options.folds else None,
        scoring=options.scoring,
        sample_weight=train.weight,
        class_weight=weights,
        fit_intercept=options.fit_intercept,
        standardize=options.standardize,
        tol=options.tol,
        checkpoint=checkpoint,
        progress=lambda report: progress(STAGES[report.stage], report.heads, report.total),
    )


def _report(train: Dataset, heads: Heads, weights: np.ndarray | None) -> DataReport | None:
    """Return the report on the training data, unless it is large."""
    if train.features.size > MAX_REPORT_NUMBERS:
        return None
    loss, codes = heads.loss, None
    outputs = 1 if heads.coef.ndim == 2 else heads.coef.shape[1]
    if heads.classes_ is None or train.features.size * outputs > MAX_SEPARATION_NUMBERS:
        loss = "squared"  # whose report has no classes
    else:
        codes = np.searchsorted(heads.classes_, np.asarray(train.target))
    make = functools.partial(data_report, train.features, codes, weights, fit_intercept=heads.fit_intercept)
    with one_blas_thread():  # the threads of its QR factorization would wait for each other at every column
        return make(loss=loss)  # pyright: ignore[reportArgumentType]


def _seconds(clock: Clock, heads: Heads) -> dict[str, float]:
    """Return the times of the command, with the fit in its parts."""
    seconds: dict[str, float] = {}
    for name, part in clock.seconds.items():
        if name == "fit" and heads.timing is not None:
            seconds |= {key: getattr(heads.timing, key) for key in ("compile", "run", "certify")}
        else:
            seconds[name] = part
    return seconds


@contextlib.contextmanager
def _resume_hint(checkpoint: Path | None) -> Iterator[None]:
    """Say on a signal how the fit goes on, if a checkpoint was written."""

    def hint() -> None:
        if checkpoint is not None and checkpoint.exists():
            text = f"dlcore fit: the same command goes on from {checkpoint}\n"
            interrupts.write_error(text.encode("ascii", "backslashreplace"))

    with interrupts.cleanup_on_signal(hint):
        yield
