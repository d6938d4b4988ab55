"""Settings of a sweep: their checks on the host, and the optimizers of all settings as data."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax

from dlcore._core import array_checks, host_checks
from dlcore.descent.base import Optimizer, as_transformation
from dlcore.fitting.loop import StaticOptimizer, split_optimizer
from dlcore.fitting.scalars import as_scalars
from dlcore.fitting.state import PyTree
from dlcore.losses import get_loss_info
from dlcore.objective import BlockedData, Objective
from dlcore.objective.labels import are_labels

Setting: TypeAlias = dict[str, Any]
"""The numbers of one setting by name: NumPy scalars, or traced arrays inside the program."""

MakeOptimizer: TypeAlias = Callable[[Setting], Optimizer]

ROW_SETTINGS = ("weights", "targets")
"""The settings with an entry for each row of the data. All the others are numbers."""


class Settings(NamedTuple):
    """Checked settings on the host.

    Attributes:
      size: number of settings.
      numbers: arrays by name, each of shape (size,).
      weights: weights of the rows, shape (size, n_rows), or None to use those of the data.
      targets: targets, shape (size, n_rows), or None to use those of the data.
    """

    size: int
    numbers: dict[str, np.ndarray]
    weights: np.ndarray | None
    targets: np.ndarray | None


class TracedOptimizer(NamedTuple):
    """An optimizer that is a closure. The program makes it from traced numbers."""

    make_optimizer: MakeOptimizer

    def combine(self, setting: Setting) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer of a setting."""
        optimizer = self.make_optimizer(dict(setting))
        return optax.with_extra_args_support(as_transformation("make_optimizer", optimizer))


def check_settings(settings: object, objective: Objective, data: BlockedData) -> Settings:
    """Return the settings as NumPy arrays of one length, or raise an error that names the wrong setting."""
    if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
        raise TypeError(f"settings: expected a dict of arrays by name, got {settings!r:.200}")
    if not settings:
        raise ValueError("settings: expected at least one array, such as rate=…, got none")
    if any(array_checks.is_traced(values) for values in settings.values()):
        raise TypeError("settings: a sweep is a Python loop around one compiled program; call it from Python")
    arrays = {name: host_checks.as_numpy(f"settings[{name!r}]", values) for name, values in settings.items()}
    for name, array in arrays.items():
        rank, axes = (2, "[settings, n]") if name in ROW_SETTINGS else (1, "[settings]")
        host_checks.check_rank(f"settings[{name!r}]", array, rank, axes)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"settings: expected arrays of one length, an entry per setting, but {text}")
    count = next(iter(lengths.values()))
    if count == 0:
        raise ValueError("settings: expected at least one setting, got arrays of length 0")
    for name, array in arrays.items():
        host_checks.check_finite(f"settings[{name!r}]", array)
    numbers = {name: array for name, array in arrays.items() if name not in ROW_SETTINGS}
    if "l2" in numbers and (numbers["l2"] < 0).any():
        first = int(np.argmax(numbers["l2"] < 0))
        raise ValueError(
            f"settings['l2']: expected numbers of at least 0, got {numbers['l2'][first]:g} in setting {first}"
        )
    if "seed" in numbers:
        _check_seeds(numbers["seed"])
    settings_of_rows = _check_rows(arrays.get("weights"), arrays.get("targets"), count, objective, data)
    return Settings(count, numbers, *settings_of_rows)


def _check_seeds(seeds: np.ndarray) -> None:
    if seeds.dtype.kind not in "iu":
        raise TypeError(f"settings['seed']: expected integers, got dtype {seeds.dtype}")
    out_of_range = (seeds < 0) | (seeds >= 2**32)
    if out_of_range.any():
        first = int(np.argmax(out_of_range))
        raise ValueError(
            f"settings['seed']: expected integers from 0 to 2**32 - 1, got {seeds[first]} in setting {first}"
        )


def _check_rows(
    weights: np.ndarray | None, targets: np.ndarray | None, count: int, objective: Objective, data: BlockedData
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the weights and targets of every setting, with the checks of `Objective.prepare`."""
    for name, array in (("weights", weights), ("targets", targets)):
        if array is not None and array.shape[1] != len(data.x):
            raise ValueError(
                f"settings[{name!r}]: expected shape ({count}, {len(data.x)}), an entry per setting and row of x, "
                f"got {array.shape}"
            )
    if weights is None and targets is None:
        return None, None
    check_targets = get_loss_info(objective.loss).check_targets
    shared_y, shared_weights = np.asarray(data.y), None if data.weights is None else np.asarray(data.weights)
    for i in range(count):
        try:
            if weights is not None:
                host_checks.check_weights(weights[i], len(data.x))
            if check_targets is not None:
                y = shared_y if targets is None else targets[i]
                check_targets(y, shared_weights if weights is None else weights[i])
        except ValueError as error:
            raise ValueError(f"setting {i}: {error}") from None
    if weights is not None:  # a power of two as the scale changes no J
        weights = weights.astype(np.float64)
        weights = np.ldexp(weights, -np.frexp(weights.max(1, keepdims=True))[1])
    if targets is not None and are_labels(objective.loss, targets[0]):
        targets = targets.astype(np.int32)
    return weights, targets


class TrackedSetting(Setting):
    """A setting that records which of its names are read. Iteration reads all of them."""

    def __init__(self, numbers: Setting, names_read: set[str]) -> None:
        super().__init__(numbers)
        self.names_read = names_read

    def __getitem__(self, name: str) -> Any:
        self.names_read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return `dict.get` and record the name."""
        self.names_read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.names_read.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        """Return `dict.keys` and record all names. `dict(setting)` and `**setting` call this method."""
        self.names_read.update(super().keys())
        return super().keys()

    def values(self) -> Any:
        """Return `dict.values` and record all names."""
        self.names_read.update(super().keys())
        return super().values()

    def items(self) -> Any:
        """Return `dict.items` and record all names."""
        self.names_read.update(super().keys())
        return super().items()


def collect_optimizers(
    make_optimizer: MakeOptimizer, settings: Settings, dtype: np.dtype
) -> tuple[StaticOptimizer | TracedOptimizer, PyTree]:
    """Return the optimizers of all settings as one static optimizer, and data with a leading axis (size,).

    The host calls `make_optimizer` for every setting, so that a wrong setting is refused before anything compiles.
    A name that no call reads is refused too, because it is probably misspelt. If the optimizers differ in numbers
    alone, as ours do, these numbers are the data. Otherwise the optimizer is a closure, as in Optax. The data are
    then the numbers of the settings, and the program makes the optimizer from them.
    """
    if not callable(make_optimizer):
        raise TypeError(f"make_optimizer: expected a function of a setting, got {make_optimizer!r}")
    names = list(settings.numbers)
    first, static_optimizers, hyperparams = None, set(), []
    names_read = {"l2", "seed"}  # the sweep itself reads these
    for i in (0, *range(settings.size)):  # setting 0 twice, because two closures of one setting differ
        setting = TrackedSetting({name: settings.numbers[name][i] for name in names}, names_read)
        try:
            optimizer = make_optimizer(setting)
        except KeyError as error:
            raise ValueError(f"settings: make_optimizer reads {error}, got only {', '.join(names)}") from error
        except (ValueError, TypeError) as error:
            raise type(error)(f"setting {i}: {error}") from error
        static, numbers = split_optimizer(as_transformation(f"make_optimizer, setting {i}", optimizer))
        first = first or static
        static_optimizers.add(static)
        hyperparams.append(numbers)
    if not names_read.issuperset(names):
        unread = next(name for name in names if name not in names_read)
        raise ValueError(
            f"settings[{unread!r}]: make_optimizer does not read it, nor does the sweep, whose own are l2, seed, "
            "weights and targets"
        )
    if len(static_optimizers) > 1 or first is None:
        return TracedOptimizer(make_optimizer), {
            name: as_scalars(f"settings[{name!r}]", array, dtype) for name, array in settings.numbers.items()
        }
    stacked = jax.tree.map(lambda *numbers: np.stack([np.asarray(number) for number in numbers]), *hyperparams[1:])
    return first, jax.tree.map(lambda numbers: as_scalars("optimizer", numbers, dtype), stacked)
