"""Checkpoints: the state of the loop in one file, written so that what was saved before is never lost.

A file is an archive: the leaves of the state and of the history, and a text that says what they are and of what
problem.
"""

import functools
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import archive
from dlcore._core.archive import digest
from dlcore._core.types import Array
from dlcore.objective import BlockedData, Objective

KIND, FORMAT = "checkpoint of dlcore", 3
UNCHECKED = 2
"""The format of files that list no checksums, which are read too."""

SAMPLE_ROWS = 1_024
"""Rows of x that identify it, evenly spread; of y and the weights all count."""

Fingerprint = dict[str, str]
"""What a checkpoint belongs to: each part by name, as a short text."""


def save(path: Path, problem: Fingerprint, tree: Any) -> None:
    """Write a tree of arrays.

    Args:
      path: of the file; what is there is replaced, in one instant.
      problem: what the tree belongs to.
      tree: arrays, random keys too.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    kinds = [[_name(key), *_kind(leaf)] for key, leaf in leaves]
    about = {"kind": KIND, "format": FORMAT, "problem": problem, "leaves": kinds}
    archive.write(path, about, {f"leaf{i}": _bits(leaf) for i, (_, leaf) in enumerate(leaves)})


def load(path: Path, problem: Fingerprint, like: Any) -> Any:
    """The tree of arrays that a checkpoint of this problem holds, on the host, random keys as such.

    Args:
      path: of the file.
      problem: what the tree must belong to.
      like: a tree of the same structure. A first axis of length 0 stands for any length.

    Raises:
      ValueError: if the file is damaged, belongs to another problem, or holds another tree.
    """
    about, named = archive.read("checkpoint", path, KIND, FORMAT, UNCHECKED)
    archive.check_same("checkpoint", path, about.get("problem"), problem)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = [(_name(key), *_kind(leaf)) for key, leaf in leaves]
    with archive.damage("checkpoint", path, KIND):
        kinds = [(str(name), str(dtype), list(shape)) for name, dtype, shape in about["leaves"]]
    changed = ""
    if [kind[:2] for kind in kinds] != [kind[:2] for kind in wanted]:
        changed = "the state of the optimizer was another"
    for (name, _, was), (_, _, now) in zip(kinds, wanted, strict=False):
        free = now[:1] == [0]
        if not changed and (was[1:] if free else was) != (now[1:] if free else now):
            changed = f"the shape of {name} was {tuple(was)}, is {tuple(now)}"
    if changed:
        raise ValueError(f"checkpoint: {path} is of another problem: {changed}; pass another path")
    with archive.damage("checkpoint", path, KIND):
        lengths = {shape[0] for (_, _, shape), (_, _, now) in zip(kinds, wanted, strict=True) if now[:1] == [0]}
        if len(lengths) > 1 or len(named) != len(leaves):
            raise ValueError(f"expected {len(leaves)} arrays, and one length of the history, got {len(named)}")
        restored = []
        for i, ((name, _, shape), (_, leaf)) in enumerate(zip(kinds, leaves, strict=True)):
            array = named[f"leaf{i}"]
            archive.check_array(name, array, *_form(leaf, shape), may_be_nan=True)
            restored.append(_from_bits(array, leaf))
    return jax.tree.unflatten(structure, restored)


def fingerprint(
    objective: Objective, data: BlockedData, params: Any, optimizer: Any, *, record: Any, batches: Any, key: Any
) -> Fingerprint:
    """What the path of a descent depends on: where two are equal, so are all its bits, on the same machine.

    How many cores make a pass is no part of it: they are the machine's, not the caller's, and to refuse hours of
    work because a container has fewer would cost more than the rounding by which the rest of the path differs.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    start = [(_name(where), *_kind(leaf), digest(np.asarray(leaf))) for where, leaf in leaves]
    parts = {"x": _sample(data.x), "y": digest(np.asarray(data.y))}
    if data.weights is not None:
        parts["weights"] = digest(np.asarray(data.weights))
    return {
        "model": _describe(objective.model),
        "loss": _describe(objective.loss),
        "l2": repr(np.asarray(objective.l2).item()),
        "shape of x": f"{data.x.shape} {data.x.dtype}",
        "devices": str(data.x.shape[0] // data.rows_each),
        "block": str(data.block),
        "start": digest(np.frombuffer(repr(start).encode(), np.uint8)),
        "optimizer": _describe(optimizer),
        "record": _describe(record),
        "batches": "none" if batches is None else f"of {batches.rows} rows, in the order of {_describe(key)}",
    } | {f"contents of {name}": digest for name, digest in parts.items()}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _kind(leaf: Any) -> tuple[str, list[int]]:
    """The dtype of a leaf, of a random key its kind, and the shape."""
    return str(leaf.dtype), list(leaf.shape)


def _bits(leaf: Any) -> np.ndarray:
    """A leaf as an array that NumPy can write; bfloat16 and its like as bytes."""
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return array if array.dtype.kind in "biufc" else array[..., None].view(np.uint8)


def _form(leaf: Any, shape: list[int]) -> tuple[str, list[int]]:
    """The dtype and the shape of `_bits` of a leaf of that shape."""
    if _is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return data.dtype.name, [*shape, *data.shape[leaf.ndim :]]
    dtype = np.dtype(leaf.dtype)
    return (dtype.name, shape) if dtype.kind in "biufc" else ("uint8", [*shape, dtype.itemsize])


def _from_bits(array: np.ndarray, like: Any) -> Any:
    """The leaf that `_bits` was given."""
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    return array if array.dtype == like.dtype else array.view(like.dtype)[..., 0]


def _sample(x: Array) -> str:
    """Of evenly spread rows, device by device: no copy of x is made."""
    wanted = np.unique(np.linspace(0, len(x) - 1, SAMPLE_ROWS).astype(np.int64))
    pieces = []
    for shard in x.addressable_shards:
        first = shard.index[0].start or 0
        rows = wanted[(wanted >= first) & (wanted < first + len(shard.data))] - first
        on_host = next(iter(shard.data.devices())).platform == "cpu"
        pieces.append(np.asarray(shard.data)[rows] if on_host else np.asarray(shard.data[rows]))
    return digest(np.concatenate(pieces))


def _describe(thing: Any, inside: tuple[int, ...] = ()) -> str:
    """A function by its name and all the numbers that it holds, a number by itself: equal in every process."""
    if id(thing) in inside:
        return "…"
    inner = functools.partial(_describe, inside=(*inside, id(thing)))
    if thing is None or isinstance(thing, bool | int | float | complex | str):
        return repr(thing)
    if isinstance(thing, jax.Array | np.ndarray | np.generic):
        array = _bits(thing)
        return repr(array.item()) if array.ndim == 0 else f"{array.shape} {digest(array)}"
    if isinstance(thing, functools.partial):
        parts = [inner(thing.func), *map(inner, thing.args)]
        return ", ".join([*parts, *(f"{k}={inner(v)}" for k, v in sorted(thing.keywords.items()))])
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{inner(k)}: {inner(v)}" for k, v in thing.items()) + "}"
    if isinstance(thing, tuple | list):
        return "(" + ", ".join(map(inner, thing)) + ")"
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
    held = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    if inspect.ismethod(thing):  # it holds what its object does
        held.append(dict(vars(thing.__self__)) if hasattr(thing.__self__, "__dict__") else thing.__self__)
    return f"{name}({', '.join(map(inner, held))})" if held else name
