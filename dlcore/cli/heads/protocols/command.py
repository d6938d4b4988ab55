"""Command `dlcore fit --protocol NAME`: a protocol of `dlcore.probing` from a table."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from dlcore.cli import interrupts
from dlcore.cli.console import describe_device, print_result, work_progress, write_json
from dlcore.cli.heads.class_weight import BALANCED, read_class_weight
from dlcore.cli.heads.options import CONFIG, command, parse_penalties, recorded_warnings
from dlcore.cli.heads.outputs import check_folder, complete_folder
from dlcore.cli.heads.protocols.options import (
    PROTOCOLS,
    FewShotOptions,
    LabelEfficiencyOptions,
    NestedOptions,
    ProtocolOptions,
    SelectOptions,
    SetOptions,
    option_names,
    parse_integers,
    parse_numbers,
)
from dlcore.cli.heads.protocols.result import ProtocolResult, card
from dlcore.cli.heads.protocols.sets import CLASSIFIERS, Sets, read_sets
from dlcore.cli.heads.result import Clock
from dlcore.devices import find_device
from dlcore.probing import (
    ProbeSettings,
    ProbeTable,
    few_shot,
    label_efficiency,
    nested_cross_validation,
    select_penalty,
)

FILES = TABLE, CARD = "protocol.parquet", "card.json"
"""The files of a protocol."""
FOLDS = 5
"""Folds that choose the penalty of `select` without validation rows."""
EXAMPLES = {
    "few-shot": "--split set --shots 1,5 --seeds 0:10 --C 1e-2:1e2:5",
    "label-efficiency": "--split set --fractions 0.1,1 --seeds 0:3 --C 1e-2:1e2:5",
    "nested": "--features x --folds 3 --inner 3 --C 1e-2:1e2:5",
    "select": "--split set --metrics accuracy,log_loss --C 1e-2:1e2:5",
}
"""Options of the example that the help of each protocol has."""
SUMMARIES = {
    "few-shot": "Fit heads on k random rows of each class.",
    "label-efficiency": "Fit heads on random fractions of the training rows.",
    "nested": "Score the whole procedure, with its choice of the penalty, in outer folds.",
    "select": "Choose the penalty on validation rows or in folds, and score the test rows.",
}
FIT_ONLY = ("--weight",)
"""Options that only `dlcore fit` without a protocol takes."""


def split_protocol(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the name after `--protocol`, or None, and the other arguments."""
    others, name = [], None
    rest = iter(arguments)
    for argument in rest:
        option, sign, value = argument.partition("=")
        if option != "--protocol":
            others.append(argument)
        elif name is not None:
            interrupts.fail("dlcore fit: --protocol: expected one, got two", interrupts.WRONG_USE)
        else:
            name = value if sign else next(rest, "")
    return name, others


def run(protocol: str, arguments: Sequence[str]) -> None:
    """Run the protocol, print the card and write the files; exit with 1 if a cell is not certified."""
    with interrupts.exit_on_error(ValueError):
        check_options(protocol, arguments)
    options = tyro.cli(
        PROTOCOLS[protocol],
        prog=f"dlcore fit --protocol {protocol}",
        args=list(arguments),
        description=f"{SUMMARIES[protocol]} Example: {example(protocol)}",
        config=CONFIG,
    )
    with command(options.device):
        result = run_protocol(protocol, options)
    if options.json:
        print_result(result.to_json())
    else:
        print(card(result, None if options.out is None else str(options.out)))
    if result.uncertified:
        interrupts.fail(
            f"dlcore fit: {result.uncertified} of {len(result.table)} cells are not certified to --tol "
            f"{options.tol:g}",
            interrupts.FAILED,
        )


def example(protocol: str) -> str:
    """Return a command that runs a protocol."""
    return f"dlcore fit digits.parquet --target digit --protocol {protocol} {EXAMPLES[protocol]}"


def check_options(protocol: str, arguments: Sequence[str]) -> None:
    """Raise a `ValueError` for an unknown protocol, and for an option that only others take."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"--protocol: expected {', '.join(PROTOCOLS)}, got {protocol!r}")
    taken = option_names(PROTOCOLS[protocol])
    owners = {name: [other for other in PROTOCOLS if name in option_names(PROTOCOLS[other])] for name in FIT_ONLY}
    for other, options in PROTOCOLS.items():
        for name in option_names(options):
            owners.setdefault(name, []).append(other)
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        name = name if name in owners else name.replace("--no-", "--", 1)
        if name in owners and name not in taken:
            who = f"of {', '.join(owners[name])}" if owners[name] else "of dlcore fit without --protocol"
            raise ValueError(f"{name}: expected an option of --protocol {protocol}, got one {who}")


def run_protocol(protocol: str, options: ProtocolOptions) -> ProtocolResult:
    """Read the rows, run the protocol and write the files."""
    if options.overwrite and options.out is None:
        raise ValueError("--overwrite: expected --out too, got none")
    folder = None
    if options.out is not None:
        folder = check_folder("--out", options.out, overwrite=options.overwrite, known=FILES, what="a protocol")
    penalties = parse_penalties(options.l2, options.C)
    clock = Clock()
    with work_progress() as progress:
        progress("read", 0, 1)
        sets = read_sets(options)
        progress("read", 1, 1)
        clock.lap("read")
        settings = ProbeSettings(
            loss=sets.loss,
            C=penalties.get("C"),
            l2=penalties.get("l2"),
            scoring=options.scoring,
            metrics=None if options.metrics is None else options.metrics.split(","),
            bootstrap=options.bootstrap,
            class_weight=_class_weight(options, sets),
            fit_intercept=options.fit_intercept,
            standardize=options.standardize,
            tol=options.tol,
            unconverged="report",
        )
        progress(protocol, 0, 1)
        with recorded_warnings() as messages:
            table = _table(options, sets, settings)
        progress(protocol, 1, 1)
        clock.lap("protocol")
    device = describe_device(find_device(options.device))
    result = ProtocolResult(protocol, sets, table, _seconds(clock, table), messages, device)
    if folder is not None:
        write_files(folder, result)
    return result


def _class_weight(options: ProtocolOptions, sets: Sets) -> dict[Any, float] | Literal["balanced"] | None:
    """Return the class weights as `ProbeSettings` has them. Balanced ones are those of each subset."""
    if list(options.class_weight) == [BALANCED] and sets.loss in CLASSIFIERS:
        return BALANCED
    train = sets.data.take(sets.index["train"])
    weights = read_class_weight(options.class_weight, train, sets.loss)
    if weights is None:
        return None
    return dict(zip(np.unique(np.asarray(train.target)).tolist(), weights.tolist(), strict=True))


def _table(options: ProtocolOptions, sets: Sets, settings: ProbeSettings) -> ProbeTable:
    """Return the table of the protocol that has these options."""
    train, validation, test = map(sets.rows, ("train", "validation", "test"))
    assert train is not None
    if isinstance(options, NestedOptions):
        return nested_cross_validation(
            train, settings, outer=options.folds, inner=options.inner, seed=options.seed
        )
    assert isinstance(options, SetOptions)
    duplicates = options.duplicates
    if isinstance(options, FewShotOptions | LabelEfficiencyOptions):
        fit_subsets = (
            functools.partial(few_shot, shots=parse_integers("--shots", options.shots))
            if isinstance(options, FewShotOptions)
            else functools.partial(label_efficiency, fractions=parse_numbers("--fractions", options.fractions))
        )
        return fit_subsets(
            train,
            settings,
            seeds=parse_integers("--seeds", options.seeds),
            validation=validation,
            test=test,
            refit=options.refit,
            duplicates=duplicates,
        )
    assert isinstance(options, SelectOptions)
    folds = options.folds
    return select_penalty(
        train,
        settings,
        validation=validation,
        folds=FOLDS if folds is None and validation is None else folds,
        test=test,
        refit=options.refit,
        seed=options.seed,
        duplicates=duplicates,
    )


def _seconds(clock: Clock, table: ProbeTable) -> dict[str, float]:
    """Return the times of the command, with the fits in their parts.

    The part "other" has the checks of leaks, the subsets and the scores.
    """
    fits = dict(table.seconds)
    other = max(0.0, clock.seconds["protocol"] - sum(fits.values()))
    return {"read": clock.seconds["read"], **fits, "other": other}


def write_files(folder: Path, result: ProtocolResult) -> None:
    """Write the table and the card of a protocol, both or none."""
    with complete_folder(folder, known=FILES, what="a protocol") as partial:
        result.table.save(partial / TABLE)
        write_json(partial / CARD, result.to_json())
