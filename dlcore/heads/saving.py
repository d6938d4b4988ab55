"""Heads in a file, and back: every bit, every status."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dlcore import _archive
from dlcore._status import Status
from dlcore.certificate import Certificate

KIND, FORMAT = "heads of dlcore", 1
ARRAYS = ("coef", "intercept", "l2", "value", "steps", "fold_gap")
OPTIONAL = ("scores", "best", "scale")
"""None where nothing is scored or standardised."""
PLAIN = ("loss", "scoring", "device", "fit_intercept")
NAMES = "feature_names"
"""Names of the columns, or None; older files lack them."""
ENDS = ("status", "fold_status")
PROOF = ("value", "gradient_norm", "gap", "rounding", "bound", "null_value", "improvement")
NEWER = ("null_value", "improvement")
"""Arrays that older files of heads lack."""


def save(heads: Any, path: Path) -> None:
    """Write `Heads`."""
    arrays = {name: getattr(heads, name) for name in ARRAYS}
    arrays |= {name: np.asarray(part) for name in OPTIONAL if (part := getattr(heads, name)) is not None}
    arrays |= {name: getattr(heads, name).astype(str) for name in ENDS}
    arrays |= {f"certificate.{name}": part for name, part in proof_arrays(heads.certificate).items()}
    plain = {name: getattr(heads, name) for name in (*PLAIN, NAMES)}
    _archive.write(path, {"kind": KIND, "format": FORMAT, **plain}, arrays)


def load(path: Path) -> dict[str, Any]:
    """What `Heads` are made of.

    Raises:
      ValueError: if the file is not there, is damaged, or is something else.
    """
    about, arrays = _archive.read("path", path, KIND, FORMAT)
    try:
        fields: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        fields |= {name: arrays.get(name) for name in OPTIONAL} | {name: about[name] for name in PLAIN}
        fields |= {name: as_statuses(arrays[name]) for name in ENDS}
        fields[NAMES] = _names(about.get(NAMES), fields["coef"].shape[-1])
        unknown = np.full(np.shape(arrays["certificate.gap"]), np.nan)
        arrays = {f"certificate.{name}": unknown for name in NEWER} | arrays
        proof = proof_of({name: arrays[f"certificate.{name}"] for name in PROOF})
        fields["certificate"] = dataclasses.replace(proof, heads_device=about["device"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"path: {path} is damaged, or no {KIND}: {error!r}") from error
    if fields["best"] is not None and fields["best"].ndim == 0:
        fields["best"] = int(fields["best"])
    return fields


def _names(found: Any, columns: int) -> tuple[str, ...] | None:
    """Return the names of so many columns, or None of heads that know none."""
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != columns or not all(isinstance(name, str) for name in found):
        raise ValueError(f"expected the names of {columns} columns, got {found!r:.200}")
    return tuple(found)


def as_statuses(names: np.ndarray) -> np.ndarray:
    """The statuses of those names, in their shape."""
    return np.array([Status(name) for name in names.ravel()], object).reshape(names.shape)


def proof_arrays(proof: Certificate) -> dict[str, np.ndarray]:
    """A certificate of several heads, the names of the bounds in the shape of the numbers."""
    return {name: np.reshape(getattr(proof, name), np.shape(proof.gap)) for name in PROOF}


def chosen(first: np.ndarray, one: Certificate, other: Certificate) -> Certificate:
    """Return the certificate of heads that are those of `one` where `first` is true, else those of `other`."""
    ours, theirs = proof_arrays(one), proof_arrays(other)
    return proof_of({name: np.where(first, ours[name], theirs[name]) for name in PROOF})


def proof_of(arrays: dict[str, np.ndarray]) -> Certificate:
    """The certificate that `proof_arrays` was given."""
    value, gradient_norm, gap, rounding, bound, null_value, improvement = (arrays[name] for name in PROOF)
    names = tuple(map(str, bound.ravel()))
    return Certificate(value, gradient_norm, gap, rounding, names, null_value=null_value, improvement=improvement)
