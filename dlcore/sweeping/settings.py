"""What differs between the models of a sweep, checked on the host, and how each optimizer becomes data."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore._core import array_checks, host_checks
from dlcore.descent.base import Optimizer, as_transformation
from dlcore.fitting.loop import Rule, split_rule
from dlcore.losses import facts_of
from dlcore.objective import BlockedData, Objective
from dlcore.objective.labels import are_labels

MakeOptimizer = Callable[[dict[str, Any]], Optimizer]

OF_ROWS = ("weights", "targets")
"""The settings that have an entry per example; every other is a number."""


class Settings(NamedTuple):
    """Checked settings on the host.

    Attributes:
      size: how many models there are.
      numbers: (size,) each, by name.
      weights, targets: (size, n), or None where those of the data serve every model.
    """

    size: int
    numbers: dict[str, np.ndarray]
    weights: np.ndarray | None
    targets: np.ndarray | None


class Traced(NamedTuple):
    """A rule that is made inside the program from traced numbers, for optimizers that are closures."""

    make_optimizer: MakeOptimizer

    def with_arrays(self, setting: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
        """The optimizer of one setting."""
        made = self.make_optimizer(dict(setting))
        return optax.with_extra_args_support(as_transformation("make_optimizer", made))


def check_settings(settings: Any, objective: Objective, data: BlockedData) -> Settings:
    """The settings as NumPy arrays of one length, or what is wrong with them."""
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise TypeError(f"settings: expected a dict of arrays by name, got {settings!r:.200}")
    if not settings:
        raise ValueError("settings: expected at least one array, such as rate=…, got none")
    if any(array_checks.is_traced(values) for values in settings.values()):
        raise TypeError("settings: a sweep is a Python loop around one compiled program; call it from Python")
    arrays = {
        name: host_checks.as_host_numbers(f"settings[{name!r}]", values) for name, values in settings.items()
    }
    for name, array in arrays.items():
        rank, axes = (2, "[settings, n]") if name in OF_ROWS else (1, "[settings]")
        host_checks.check_rank(f"settings[{name!r}]", array, rank, axes)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"settings: expected arrays of one length, an entry per setting, but {listed}")
    count = next(iter(lengths.values()))
    if count == 0:
        raise ValueError("settings: expected at least one setting, got arrays of length 0")
    for name, array in arrays.items():
        host_checks.check_finite(f"settings[{name!r}]", array)
    numbers = {name: array for name, array in arrays.items() if name not in OF_ROWS}
    if "l2" in numbers and (numbers["l2"] < 0).any():
        worst = int(np.argmax(numbers["l2"] < 0))
        raise ValueError(
            f"settings['l2']: expected numbers of at least 0, got {numbers['l2'][worst]:g} in setting {worst}"
        )
    if "seed" in numbers:
        _check_seeds(numbers["seed"])
    return Settings(count, numbers, *_rows(arrays.get("weights"), arrays.get("targets"), count, objective, data))


def _check_seeds(seeds: np.ndarray) -> None:
    if seeds.dtype.kind not in "iu":
        raise TypeError(f"settings['seed']: expected integers, got dtype {seeds.dtype}")
    wrong = (seeds < 0) | (seeds >= 2**32)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"settings['seed']: expected integers from 0 to 2**32 - 1, got {seeds[first]} in setting {first}"
        )


def _rows(
    weights: np.ndarray | None, targets: np.ndarray | None, count: int, objective: Objective, data: BlockedData
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Weights and targets of every setting, checked as `Objective.prepare` checks those of one fit."""
    for name, array in (("weights", weights), ("targets", targets)):
        if array is not None and array.shape[1] != len(data.x):
            raise ValueError(
                f"settings[{name!r}]: expected shape ({count}, {len(data.x)}), an entry per setting and row of x, "
                f"got {array.shape}"
            )
    if weights is None and targets is None:
        return None, None
    check_targets = facts_of(objective.loss).check_targets
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
    if weights is not None:  # scaled by a power of two, which changes no J
        weights = weights.astype(np.float64)
        weights = np.ldexp(weights, -np.frexp(weights.max(1, keepdims=True))[1])
    if targets is not None and are_labels(objective.loss, targets[0]):
        targets = targets.astype(np.int32)
    return weights, targets


class Watched(dict[str, Any]):
    """A setting that notes which of its names are asked for; whoever goes through it asks for all."""

    def __init__(self, numbers: dict[str, Any], asked: set[str]) -> None:
        super().__init__(numbers)
        self.asked = asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dict."""
        self.asked.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.asked.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        """As of any dict; so do `dict(setting)` and `**setting` read it."""
        self.asked.update(super().keys())
        return super().keys()

    def values(self) -> Any:
        """As of any dict."""
        self.asked.update(super().keys())
        return super().values()

    def items(self) -> Any:
        """As of any dict."""
        self.asked.update(super().keys())
        return super().items()


def collect_rules(make_optimizer: MakeOptimizer, settings: Settings, dtype: np.dtype) -> tuple[Rule | Traced, Any]:
    """Every setting's optimizer as one program and data with a leading axis.

    `make_optimizer` is called on the host for every setting, so that what it refuses is refused before anything
    is compiled, and so is a name that it asks for in none of them: misspelt, most likely. Where only numbers
    differ between the rules (ours), those are the data. Otherwise (a closure of Optax's) the numbers of the
    settings are, and the rule is made of them inside the program.
    """
    if not callable(make_optimizer):
        raise TypeError(f"make_optimizer: expected a function of a setting, got {make_optimizer!r}")
    names = list(settings.numbers)
    first, rules, leaves = None, set(), []
    asked = {"l2", "seed"}  # the sweep's own
    for i in (0, *range(settings.size)):  # the first twice: a closure differs from itself made again
        setting = Watched({name: settings.numbers[name][i] for name in names}, asked)
        try:
            optimizer: Any = make_optimizer(setting)
        except KeyError as error:
            raise ValueError(f"settings: make_optimizer reads {error}, got only {', '.join(names)}") from error
        except (ValueError, TypeError) as error:
            raise type(error)(f"setting {i}: {error}") from error
        rule, arrays = split_rule(as_transformation(f"make_optimizer, setting {i}", optimizer))
        first = first or rule
        rules.add(rule)
        leaves.append(arrays)
    if not asked.issuperset(names):
        unread = next(name for name in names if name not in asked)
        raise ValueError(
            f"settings[{unread!r}]: make_optimizer does not read it, nor does the sweep, whose own are l2, seed, "
            "weights and targets"
        )
    if len(rules) > 1 or first is None:
        return Traced(make_optimizer), {
            name: in_dtype(f"settings[{name!r}]", array, dtype) for name, array in settings.numbers.items()
        }
    stacked = jax.tree.map(lambda *numbers: np.stack([np.asarray(number) for number in numbers]), *leaves[1:])
    return first, jax.tree.map(lambda numbers: in_dtype("optimizer", numbers, dtype), stacked)


def in_dtype(name: str, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(settings, ...) in the dtype of the arithmetic; integers stay integers."""
    if not jnp.issubdtype(numbers.dtype, jnp.floating):
        return numbers.astype(jax.dtypes.canonicalize_dtype(numbers.dtype))
    with np.errstate(over="ignore", under="ignore"):
        cast = numbers.astype(dtype)
    lost = ~np.isfinite(cast) | ((numbers != 0) & (np.abs(cast) < np.finfo(dtype).tiny))
    if lost.any():
        at = tuple(int(index) for index in np.argwhere(lost)[0])
        raise ValueError(
            f"{name}: expected numbers within the range of {dtype}, got {float(numbers[at]):g} in setting {at[0]}"
        )
    return cast
