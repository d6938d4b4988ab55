"""Long trials of the protocols for probes, on MNIST and a9a of $DLCORE_DATA.

The settings are those of two public protocols. `log_regression.py` of DINOv3 has 45 values of C, a sweep on
validation rows, a refit with them, and few-shot tries that are averaged. torchgeo-bench has 40 values of C and 200
bootstrap resamples.

Command: scripts/bench probing --trial dinov3|torchgeo|efficiency|layers [--data mnist|a9a] [--rows 7200]
Each but layers is timed beside the peers that are installed, which `--peers` selects.
Takes: from one minute (layers) to hours (all peers on all rows of MNIST).
"""

import collections
import dataclasses
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from oracles.probe_oracle import logistic_newton, logistic_value, softmax_newton, softmax_newton_cg, softmax_value

from dlcore import GridEdgeWarning, LinearHeads, certify, fit_heads
from dlcore._core.compilation.compilations import Compilations
from dlcore.benchmark.head_peers import fit_path, solvers_for, start_library
from dlcore.probing import (
    ProbeSettings,
    ProbeTable,
    Split,
    few_shot,
    label_efficiency,
    probe_layers,
    select_penalty,
    stratified_rows,
)

DINOV3 = 10.0 ** np.linspace(-6, 5, 45)
"""C of DINOv3's `log_regression.py`."""
TORCHGEO = np.logspace(-6, 4, 40)
"""C of torchgeo-bench."""
SETTINGS = (
    ("float32", 1e-4),
    ("float32", 1e-6),
    ("float64", 1e-2),
    ("float64", 1e-3),
    ("float64", 1e-4),
    ("float64", 1e-6),
    ("float64", 1e-8),
)
"""The dtype and the tolerance of a peer, in the order in which they are tried."""
GIVE_UP_S = 600
"""A peer that takes longer than this is not tried with a tighter tolerance."""


class Sets(NamedTuple):
    """Training, validation and test rows."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    loss: str


def load(name: str, rows: int = 0, *, pooled: bool = False) -> Sets:
    """Return a data set of $DLCORE_DATA: its last fifth tests, a tenth of the others validates.

    Args:
      name: "mnist" or "a9a".
      rows: the number of training and validation rows. 0 is for all.
      pooled: whether pixels are averaged over 4 × 4.
    """
    data = np.load(Path(os.environ["DLCORE_DATA"]) / {"mnist": "mnist_t10k.npz", "a9a": "a9a.npz"}[name])
    x, y = data["X"].astype(np.float32), data["y"].astype(int)
    if name == "mnist":
        x = x / np.float32(255)
        if pooled:
            x = x.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(len(x), 49)
    first = len(x) * 4 // 5
    used = min(rows or first, first)
    train = used * 9 // 10
    parts = [slice(0, train), slice(train, used), slice(first, None)]
    sets = [(x[part], y[part]) for part in parts]
    return Sets(sets[0], sets[1], sets[2], "softmax" if name == "mnist" else "logistic")


def dinov3(sets: Sets, tol: float = 1e-6) -> ProbeTable:
    """Return the probe of all rows of DINOv3's protocol, by one call."""
    settings = ProbeSettings(loss=sets.loss, C=DINOV3, scoring="accuracy", tol=tol)
    return select_penalty(sets.train, settings, validation=sets.validation, test=sets.test, duplicates="report")


def dinov3_tries(sets: Sets, tol: float = 1e-6) -> ProbeTable:
    """Return the few-shot tries of DINOv3's protocol, by one call. It fits no refit with the validation rows."""
    return few_shot(
        sets.train,
        ProbeSettings(loss=sets.loss, C=DINOV3, scoring="accuracy", tol=tol),
        shots=[1, 5],
        seeds=range(3),
        validation=sets.validation,
        test=sets.test,
        duplicates="report",
    )


def torchgeo(sets: Sets, tol: float = 1e-6) -> ProbeTable:
    """Return the probe of torchgeo-bench's protocol, by one call."""
    settings = ProbeSettings(loss=sets.loss, C=TORCHGEO, scoring="accuracy", bootstrap=200, tol=tol)
    return select_penalty(sets.train, settings, validation=sets.validation, test=sets.test, duplicates="report")


def excess(head: LinearHeads, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return (J − J')/J' of a head and of the oracle's J', and the certified gap of the oracle relative to J'."""
    l2, coef, intercept = float(np.asarray(head.l2)), np.asarray(head.coef), np.asarray(head.intercept)
    if head.loss == "logistic":
        codes = (y == y.max()).astype(int)
        best = logistic_newton(x, codes, l2)
        value = logistic_value(x, codes, l2, coef, float(intercept))
    else:
        classes = len(coef)
        solve = softmax_newton if classes * (x.shape[1] + 1) <= 1000 else softmax_newton_cg
        best = solve(x, y, l2, classes)
        value = softmax_value(x, y, l2, coef, intercept)
    return (value - best.value) / best.value, best.gap / best.value


def neighbours(table: ProbeTable) -> list[float]:
    """Return the chosen C and its neighbours in the grid."""
    sweep = table.select(stage="sweep")
    best = int(np.flatnonzero(sweep["chosen"])[0])
    return sweep["C"][max(0, best - 1) : best + 2].tolist()


def check_against_oracle(table: ProbeTable, sets: Sets, tol: float = 1e-10) -> list[tuple[float, float, float]]:
    """Return C, the excess and the oracle's gap of the chosen C, its neighbours and the refit.

    The heads of the protocol are certified to its own tolerance. These ones are fitted again to `tol`.
    """
    settings = ProbeSettings(loss=sets.loss, C=neighbours(table), tol=tol, scoring="accuracy")
    close = select_penalty(sets.train, settings, validation=sets.validation, duplicates="report")
    refit = close.select(stage="refit")
    found = [
        (close["C"][row], *excess(close.heads[int(row)], *sets.train))
        for row in np.flatnonzero(close["stage"] == "sweep")
    ]
    both = [np.concatenate(parts) for parts in zip(sets.train, sets.validation, strict=True)]
    return [*found, (refit["C"][0], *excess(refit.heads[0], both[0], both[1]))]


def show(name: str, table: ProbeTable, seconds: float) -> None:
    """Print the statuses, the largest gap and the final scores of a protocol."""
    statuses = collections.Counter(table["status"].tolist())
    print(f"{name}: {seconds:.1f} s, {len(table)} heads, {dict(statuses)}, largest gap {table['gap'].max():.1e}")
    final = table.select(chosen=True)
    keys = [key for key in ("shots", "seed", "stage", "C", "score", "test_accuracy") if key in final.columns]
    for row in range(len(final)):
        print("  ", {key: final[key][row].item() for key in keys})
    print("  ", table.record["common_rows"])


def efficiency(peers: Iterable[str]) -> None:
    """Time (5 sizes × 10 seeds) × 3 C of 10,000 × 784 and 10 classes, beside each peer that is installed."""
    data = np.load(Path(os.environ["DLCORE_DATA"]) / "mnist_t10k.npz")
    x, y = (data["X"] / 255).astype(np.float32), data["y"].astype(int)
    sizes, seeds, strengths = [0.01, 0.05, 0.1, 0.5, 1.0], range(10), [0.01, 0.1, 1.0]
    # The validation rows are reflected pixels: other rows, which only have to be scored.
    held = (np.ascontiguousarray(x[:500, ::-1]), y[:500])
    settings = ProbeSettings(C=strengths)
    fit_heads(np.eye(2), [0, 1], l2=1.0)  # JAX starts before the clock
    for call in ("first", "second"):
        start = time.perf_counter()
        with Compilations() as compiled:
            table = label_efficiency((x, y), settings, fractions=sizes, seeds=seeds, validation=held)
        seconds = time.perf_counter() - start
        print(f"label_efficiency, {call} call: {seconds:.1f} s, {len(table)} heads, {set(table['status'])}")
        print(f"   {len(compiled.names)} programs in {compiled.seconds:.1f} s: {compiled.names}")
    for title in installed(peers, "softmax", x):
        total, reached = 0.0, True
        for size in sizes:
            rows = stratified_rows(y, round(size * len(x)), 0)
            seconds, one = time_peer(title, x[rows], y[rows], strengths, "softmax", name=f"{len(rows):,} rows")
            # All seeds of the whole table are one subset, which a loop fits once too.
            total, reached = total + seconds * (1 if size == 1 else len(seeds)), reached and one
        note = "" if reached else ", not every gap reached"
        print(
            f"{title}, a loop over {len(seeds)} seeds: {total:.0f} s (one seed measured, times {len(seeds)}){note}"
        )


def installed(peers: Iterable[str], loss: str, x: np.ndarray) -> Iterator[str]:
    """Yield the solvers whose library is installed, imported and called once."""
    for title in solvers_for(loss, x.shape[1], 10 if loss == "softmax" else 2):
        if not title.startswith(tuple(peers)):
            continue
        if find_spec(title.partition(",")[0]) is None:
            print(f"{title}: not installed")
            continue
        start_library(title)
        yield title


def time_peer(
    title: str, x: np.ndarray, y: np.ndarray, strengths: Sequence[float] | np.ndarray, loss: str, *, name: str
) -> tuple[float, bool]:
    """Return the seconds of a peer's path at the first of `SETTINGS` that reaches every gap, and whether one did.

    The gap is dlcore's own tolerance: 1e-6 of J, or of a thousandth of the constant prediction's J₀. Each setting
    that was tried is printed. No tighter one is tried after `GIVE_UP_S`, and the seconds are then a lower bound.
    """
    l2 = 1 / (np.sort(strengths) * len(x))
    codes = np.unique(y, return_inverse=True)[1]
    share = np.bincount(codes) / len(codes)
    least = -1e-3 * np.sum(share * np.log(share))
    seconds, reached = 0.0, False
    for dtype, tol in SETTINGS:
        start = time.perf_counter()
        path = fit_path(title, l2, loss, x, codes, dtype=dtype, tol=tol)
        seconds = time.perf_counter() - start
        proof = certify(LinearHeads(path.coef, path.intercept, l2, loss), x, codes)
        gap = np.asarray(proof.gap)
        reached = bool((gap <= 1e-6 * np.maximum(np.asarray(proof.value), least)).all())
        setting = f"{name}, {dtype}, tol {tol:g}"
        print(f"   {title}, {setting}: {seconds:.2f} s, largest gap {gap.max():.1e}", flush=True)
        if reached or seconds > GIVE_UP_S:
            break
    return seconds, reached


def beside_peers(table: ProbeTable, sets: Sets, peers: Iterable[str]) -> None:
    """Time the heads of a protocol, each C and the refit, with each peer."""
    sweep, refit = table.select(stage="sweep"), table.select(stage="refit")
    both = [np.concatenate(parts) for parts in zip(sets.train, sets.validation, strict=True)]
    for title in installed(peers, sets.loss, sets.train[0]):
        seconds, reached = time_peer(title, *sets.train, sweep["C"], sets.loss, name=f"{len(sweep)} C")
        last, also = time_peer(title, both[0], both[1], refit["C"], sets.loss, name="refit")
        note = "" if reached and also else ", not every gap reached"
        print(f"{title}: {seconds + last:.1f} s{note}")


def layers() -> None:
    """Count the compilations of a probe of 12 layers after the first."""
    sets = load("mnist", 3000)
    x = np.concatenate([sets.train[0], sets.validation[0], sets.test[0]])
    y = np.concatenate([sets.train[1], sets.validation[1], sets.test[1]])
    ends = np.cumsum([len(part[0]) for part in sets[:3]])
    split = Split(*np.split(np.arange(len(x)), ends[:2]))
    rng, counts = np.random.default_rng(0), []

    def features():
        for layer in range(12):
            counts.append(compiled.count)
            mixed = x @ rng.normal(size=(784, 384)).astype(np.float32) / 28
            yield layer, np.maximum(mixed, 0) if layer % 2 else mixed

    start = time.perf_counter()
    with Compilations() as compiled:
        table = probe_layers(features(), y, ProbeSettings(C=[1e-3, 1e-2, 0.1, 1.0]), split=split)
    show("probe_layers", table, time.perf_counter() - start)
    print(f"   compilations: {counts[1]} by the first layer, {compiled.count - counts[1]} after it")


@dataclasses.dataclass
class Options:
    """The trial."""

    trial: Literal["dinov3", "torchgeo", "efficiency", "layers"] = "layers"
    """The protocol, or what is counted."""
    data: Literal["mnist", "a9a"] = "mnist"
    """The data set of a protocol."""
    rows: int = 0
    """Training and validation rows. 0 is for all."""
    peers: tuple[str, ...] = ("sklearn, lbfgs", "sklearnex", "torch")
    """Beginnings of the names of the peers."""


def main(options: Options) -> None:
    """Run the trial and print its figures."""
    warnings.simplefilter("ignore", GridEdgeWarning)
    if options.trial == "layers":
        layers()
        return
    if options.trial == "efficiency":
        efficiency(options.peers)
        return
    sets = load(options.data, options.rows)
    fit_heads(np.eye(2), [0, 1], l2=1.0)  # JAX starts before the clock
    protocol = dinov3 if options.trial == "dinov3" else torchgeo
    start = time.perf_counter()
    table = protocol(sets)
    show(options.trial, table, time.perf_counter() - start)
    for C, difference, gap in check_against_oracle(table, sets):
        print(f"   C = {C:.4g}: (J − J')/J' = {difference:.1e}, the oracle's gap {gap:.1e}", flush=True)
    beside_peers(table, sets, options.peers)
    if options.trial == "dinov3":
        start = time.perf_counter()
        table = dinov3_tries(sets)
        show("dinov3, few-shot tries", table, time.perf_counter() - start)
        means = table.mean("test_accuracy", by="shots")
        print("   mean over tries:", dict(zip(means["shots"], means["test_accuracy_mean"], strict=True)))


if __name__ == "__main__":
    main(tyro.cli(Options))
