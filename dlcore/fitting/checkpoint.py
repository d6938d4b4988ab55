"""Checkpoints of a fit: the state of the loop and its history in one file.

A file is an archive of the leaves of the state and of the history. Its header lists the leaves and the fingerprint
of the problem. A new file replaces the old one in one atomic step, so that an interrupted write loses nothing.
"""

import functools
import inspect
import time
from pathlib import Path
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from dlcore._core import archive
from dlcore._core.archive import digest
from dlcore._core.types import Array, Params, PRNGKey
from dlcore.fitting.loop import Record, evaluations, rewind
from dlcore.fitting.minibatches import Batches
from dlcore.fitting.state import HistoryBuffers, LoopProgress, LoopState, PyTree, concatenate
from dlcore.fitting.stopping import CODES, RUNNING
from dlcore.objective import BlockedData, Objective
from dlcore.objective.sharding import replicate

KIND, FORMAT = "checkpoint of dlcore", 3
UNCHECKED = 2
"""The format of older files without checksums, which `load` reads too."""

SAMPLE_ROWS = 1_024
"""Number of evenly spaced rows of x in the fingerprint. Of y and of the weights, the fingerprint has every row."""

CHECKPOINT_SECONDS = 30.0
"""Minimum time between two checkpoints. The last one is always written."""

RENAMED = (
    ("dlcore.losses.classification.", "dlcore.losses.binary."),
    ("dlcore.models.heads._zeros_of_classes", "dlcore.models.linear._class_zeros"),
    ("dlcore.models.heads.", "dlcore.models.linear."),
    ("dlcore.models.network._mlp.<locals>.drawn", "dlcore.models.mlp._mlp.<locals>.draw_params"),
    ("dlcore.models.network.", "dlcore.models.mlp."),
)
"""Names of losses and models in files of earlier versions, and their present names, specific names first."""

Fingerprint = dict[str, str]
"""A short text for each part of the problem that a checkpoint belongs to."""

Leaf: TypeAlias = Array | np.ndarray
Kind: TypeAlias = tuple[str, str, list[int]]
"""The name, the dtype and the shape of a leaf."""
Tree = TypeVar("Tree")


class CheckpointFile:
    """The checkpoint of a fit at a path."""

    def __init__(self, path: Path, problem: Fingerprint) -> None:
        self.path = path
        self.problem = problem
        self._last_save = time.perf_counter()

    def resume(self, state: LoopState, record: Record, per_epoch: int, mesh: Mesh | None) -> LoopProgress | None:
        """Return the saved progress, or None if there is no file.

        The progress of a fit that had ended is rewound, so that the current tol and max_steps decide anew.

        Args:
          state: a state of the same structure.
          record: the function of the parameters whose results are in the history.
          per_epoch: number of steps in an epoch.
          mesh: the devices of the fit.
        """
        if not self.path.exists():
            return None
        entry = jax.eval_shape(lambda: HistoryBuffers(state.value, state.gradient_norm, record(state.params)))
        empty = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), entry)
        saved, entries = load(self.path, self.problem, (state, empty))
        with archive.damage_as_value_error("checkpoint", self.path, KIND):
            _check_progress(saved, entries, per_epoch)
        progress = LoopProgress(replicate(jax.device_put(saved), mesh), [entries])
        return progress if int(saved.code) == RUNNING else rewind(progress, mesh)

    def save(self, progress: LoopProgress) -> None:
        """Write the progress of a fit."""
        save(self.path, self.problem, (progress.state, concatenate(progress.histories)))
        self._last_save = time.perf_counter()

    def save_if_due(self, progress: LoopProgress) -> None:
        """Write the progress of a fit if the last checkpoint is old."""
        if time.perf_counter() - self._last_save > CHECKPOINT_SECONDS:
            self.save(progress)


def save(path: Path, problem: Fingerprint, tree: PyTree) -> None:
    """Write a tree of arrays in place of the file at `path`.

    Args:
      path: the path of the file.
      problem: the fingerprint of the problem that the tree belongs to.
      tree: a tree of arrays and random keys.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    kinds = [[_name(path), *_kind(leaf)] for path, leaf in leaves]
    header = {"kind": KIND, "format": FORMAT, "problem": problem, "leaves": kinds}
    archive.write(path, header, {f"leaf{i}": _bits(leaf) for i, (_, leaf) in enumerate(leaves)})


def load(path: Path, problem: Fingerprint, like: Tree) -> Tree:
    """Return the tree of arrays in a checkpoint, on the host. Random keys are keys again.

    Args:
      path: the path of the file.
      problem: the fingerprint that the file must have.
      like: a tree of the same structure. A first axis of length 0 stands for any length.

    Raises:
      ValueError: if the file is damaged, belongs to another problem, or has a tree of another structure.
    """
    header, arrays = archive.read("checkpoint", path, KIND, FORMAT, UNCHECKED)
    archive.check_same_problem("checkpoint", path, _present_names(header.get("problem")), problem)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = [(_name(leaf_path), *_kind(leaf)) for leaf_path, leaf in leaves]
    with archive.damage_as_value_error("checkpoint", path, KIND):
        kinds = [(str(name), str(dtype), list(shape)) for name, dtype, shape in header["leaves"]]
    difference = _difference_of_structure(kinds, expected)
    for (name, _, old), (_, _, new) in zip(kinds, expected, strict=False):
        any_length = new[:1] == [0]
        if not difference and (old[1:] if any_length else old) != (new[1:] if any_length else new):
            difference = f"the shape of {name} was {tuple(old)}, is {tuple(new)}"
    if difference:
        raise ValueError(f"checkpoint: {path} is of another problem: {difference}; pass another path")
    with archive.damage_as_value_error("checkpoint", path, KIND):
        lengths = {old[0] for (_, _, old), (_, _, new) in zip(kinds, expected, strict=True) if new[:1] == [0]}
        if len(arrays) != len(leaves):
            raise ValueError(f"expected {len(leaves)} arrays, got {len(arrays)}")
        if len(lengths) > 1:
            raise ValueError(f"expected recorded arrays of one length, got the lengths {sorted(lengths)}")
        restored = []
        for i, ((name, _, shape), (_, leaf)) in enumerate(zip(kinds, leaves, strict=True)):
            array = arrays[f"leaf{i}"]
            archive.check_array(name, array, *_form(leaf, shape), may_be_nan=True)
            restored.append(_from_bits(array, leaf))
    return jax.tree.unflatten(structure, restored)


def _difference_of_structure(kinds: list[Kind], expected: list[Kind]) -> str:
    """Return how the leaves of a checkpoint differ from the expected leaves in name or dtype, or an empty text."""
    if [kind[:2] for kind in kinds] == [kind[:2] for kind in expected]:
        return ""
    differing = {kind[:2] for kind in kinds} ^ {kind[:2] for kind in expected}
    is_recorded = differing and all(name.startswith("[1].recorded") for name, _ in differing)
    return "the results of record differ" if is_recorded else "the state of the optimizer differs"


def fingerprint(
    objective: Objective,
    data: BlockedData,
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    record: Record | None,
    batches: Batches | None,
    key: PRNGKey | None,
) -> Fingerprint:
    """Return texts that differ if the problem, the data, the optimizer or the start differ.

    Two things are not compared: the rows of x outside a sample of 1,024, and the code of functions. A function is
    compared by its name and by the values that it holds. If these rows and this code agree too, equal fingerprints
    give equal bits on one machine.

    The fingerprint omits the number of threads, which is a property of the machine. A container with fewer cores
    may resume the fit, and its path then differs by rounding.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    start = [(_name(path), *_kind(leaf), digest(np.asarray(leaf))) for path, leaf in leaves]
    contents = {"x": _digest_of_sample(data.x), "y": digest(np.asarray(data.y))}
    if data.weights is not None:
        contents["weights"] = digest(np.asarray(data.weights))
    return {
        "model": _describe(objective.model),
        "loss": _describe(objective.loss),
        "l2": repr(np.asarray(objective.l2).item()),
        "shape of x": f"{data.x.shape} {data.x.dtype}",
        "devices": str(data.x.shape[0] // data.rows_per_device),
        "block": str(data.block),
        "start": digest(np.frombuffer(repr(start).encode(), np.uint8)),
        "optimizer": _describe(optimizer),
        "record": _describe(record),
        "batches": "none" if batches is None else f"of {batches.rows} rows, in the order of {_describe(key)}",
    } | {f"contents of {name}": checksum for name, checksum in contents.items()}


def _check_progress(state: LoopState, entries: HistoryBuffers, per_epoch: int) -> None:
    """Raise a ValueError unless a fit can reach the state, and the history has an entry for each evaluation."""
    step, code, length = int(state.step), int(state.code), len(entries.value)
    if step < 0 or code not in range(len(CODES)):
        raise ValueError(f"expected a step of at least 0 and a known code, got {step} and {code}")
    if length != (expected := evaluations(step, per_epoch) + (code != RUNNING)):
        raise ValueError(f"expected a history of {expected} evaluations, got {length}")


def _name(path: jax.tree_util.KeyPath) -> str:
    return jax.tree_util.keystr(path)


def _is_key(leaf: Leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _kind(leaf: Leaf) -> tuple[str, list[int]]:
    """Return the dtype of a leaf (for a random key the kind of key) and its shape."""
    return str(leaf.dtype), list(leaf.shape)


def _bits(leaf: Leaf | np.generic) -> np.ndarray:
    """Return a leaf as an array that NumPy can write. Extension types such as bfloat16 become bytes."""
    array = np.asarray(jax.random.key_data(leaf) if isinstance(leaf, jax.Array) and _is_key(leaf) else leaf)
    return array if array.dtype.kind in "biufc" else array[..., None].view(np.uint8)


def _form(leaf: Leaf, shape: list[int]) -> tuple[str, list[int]]:
    """Return the dtype and the shape that `_bits` gives to a leaf of shape `shape`."""
    if _is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return data.dtype.name, [*shape, *data.shape[leaf.ndim :]]
    dtype = np.dtype(leaf.dtype)
    return (dtype.name, shape) if dtype.kind in "biufc" else ("uint8", [*shape, dtype.itemsize])


def _from_bits(array: np.ndarray, like: Leaf) -> Leaf:
    """Return the leaf that `_bits` converted."""
    if isinstance(like, jax.Array) and _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    return array if array.dtype == like.dtype else array.view(like.dtype)[..., 0]


def _digest_of_sample(x: Array) -> str:
    """Return the digest of evenly spaced rows. The rows are read device by device, without a copy of x."""
    sample = np.unique(np.linspace(0, len(x) - 1, SAMPLE_ROWS).astype(np.int64))
    pieces = []
    for shard in x.addressable_shards:
        first = shard.index[0].start or 0
        rows = sample[(sample >= first) & (sample < first + len(shard.data))] - first
        on_host = next(iter(shard.data.devices())).platform == "cpu"
        pieces.append(np.asarray(shard.data)[rows] if on_host else np.asarray(shard.data[rows]))
    return digest(np.concatenate(pieces))


def _present_names(problem: object) -> object:
    """Return the fingerprint in a file with the present names of losses and models."""
    if not isinstance(problem, dict):
        return problem
    renamed = dict(problem)
    for part in ("model", "loss"):
        for old, new in RENAMED:
            if isinstance(renamed.get(part), str):
                renamed[part] = renamed[part].replace(old, new)
    return renamed


def _describe(value: object, ancestors: tuple[int, ...] = ()) -> str:
    """Return a text that is the same in every process: a number, or a function's name with its numbers."""
    if id(value) in ancestors:
        return "…"
    describe = functools.partial(_describe, ancestors=(*ancestors, id(value)))
    if value is None or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = _bits(value)
        return repr(array.item()) if array.ndim == 0 else f"{array.shape} {digest(array)}"
    if isinstance(value, functools.partial):
        parts = [describe(value.func), *map(describe, value.args)]
        return ", ".join([*parts, *(f"{k}={describe(v)}" for k, v in sorted(value.keywords.items()))])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{describe(k)}: {describe(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(describe, value)) + ")"
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    contents: list[object] = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    if inspect.ismethod(value):  # a method holds the attributes of its object
        instance = value.__self__
        contents.append(dict(vars(instance)) if hasattr(instance, "__dict__") else instance)
    return f"{name}({', '.join(map(describe, contents))})" if contents else name
