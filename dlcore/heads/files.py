"""Write heads to a file and read them, bit for bit."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore._core import archive
from dlcore._core.archive import check_array
from dlcore._core.status import Status
from dlcore.certificate import Certificate
from dlcore.certificate.losses import CERTIFIED_LOSSES

if TYPE_CHECKING:
    from dlcore.heads.result import Heads

KIND, FORMAT = "heads of dlcore", 2
UNCHECKED = 1
"""The older format of files without checksums, which is read too."""
ARRAYS = ("coef", "intercept", "l2", "value", "steps", "fold_gap")
OPTIONAL = ("scores", "best", "scale", "classes_")
"""Attributes that may be None: without scores, standardised columns or classes. Files may lack them."""
PLAIN = ("loss", "scoring", "device", "fit_intercept")
NAMES = "feature_names"
"""Names of the columns, or None; older files lack them."""
ENDS = ("status", "fold_status")
CERTIFICATE_ARRAYS = ("value", "gradient_norm", "gap", "rounding", "bound", "null_value", "improvement")
NEWER = ("null_value", "improvement")
"""Arrays that older files of heads lack."""


def save(heads: "Heads", path: Path) -> None:
    """Write `Heads`, unless `load` would refuse them.

    Raises:
      ValueError: if an attribute does not fit the others, or has another type or dtype than heads have.
    """
    checked = (*ARRAYS, *OPTIONAL, *PLAIN, *ENDS, "certificate", NAMES)
    check({name: getattr(heads, name) for name in checked}, "heads.")
    arrays = {name: getattr(heads, name) for name in ARRAYS}
    arrays |= {name: np.asarray(part) for name in OPTIONAL if (part := getattr(heads, name)) is not None}
    arrays |= {name: getattr(heads, name).astype(str) for name in ENDS}
    arrays |= {f"certificate.{name}": part for name, part in certificate_arrays(heads.certificate).items()}
    plain = {name: getattr(heads, name) for name in (*PLAIN, NAMES)}
    archive.write(path, {"kind": KIND, "format": FORMAT, **plain}, arrays)


def load(path: Path) -> dict[str, Any]:
    """Return the fields of `Heads`.

    Raises:
      ValueError: if the file is missing, damaged or of another kind, or does not contain heads.
    """
    about, arrays = archive.read("path", path, KIND, FORMAT, UNCHECKED)
    with archive.damage_as_value_error("path", path, KIND):
        fields: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        fields |= {name: arrays.get(name) for name in OPTIONAL} | {name: about[name] for name in PLAIN}
        for name in ENDS:
            check_array(name, arrays[name], "Status", None)
            fields[name] = as_statuses(arrays[name])
        fields[NAMES] = _names(about.get(NAMES))
        unknown = np.full(np.shape(arrays["certificate.gap"]), np.nan)
        arrays = {f"certificate.{name}": unknown for name in NEWER} | arrays
        certificate = certificate_from_arrays({name: arrays[f"certificate.{name}"] for name in CERTIFICATE_ARRAYS})
        fields["certificate"] = dataclasses.replace(certificate, heads_device=about["device"])
        check(fields)
    if fields["best"] is not None and fields["best"].ndim == 0:
        fields["best"] = int(fields["best"])
    return fields


def check(fields: dict[str, Any], where: str = "") -> None:
    """Raise a ValueError that names the first attribute of `Heads` of a wrong type, dtype, shape or value.

    Args:
      fields: the attributes by name.
      where: a prefix of the names in the message.
    """
    loss, coef = fields["loss"], fields["coef"]
    if loss not in CERTIFIED_LOSSES:
        raise ValueError(f"{where}loss: expected one of {', '.join(map(repr, CERTIFIED_LOSSES))}, got {loss!r}")
    for name, kind in (("scoring", str), ("device", str), ("fit_intercept", bool)):
        if not isinstance(fields[name], kind):
            raise ValueError(f"{where}{name}: expected a {kind.__name__}, got {fields[name]!r}")
    has_classes = CERTIFIED_LOSSES[loss].has_classes
    axes = 3 if has_classes or np.ndim(coef) == 3 else 2
    check_array(f"{where}coef", coef, "float64", (None,) * axes)
    shape = coef.shape[:1] if has_classes else coef.shape[:-1]
    targets, strengths, features = shape[:-1], shape[-1], coef.shape[-1]

    def checked(name: str, kind: str, shape: tuple[int | None, ...], least: float | None = None) -> np.ndarray:
        check_array(f"{where}{name}", fields[name], kind, shape, may_be_nan=name == "value")
        if least is not None and not (np.isfinite(fields[name]) & (fields[name] >= least)).all():
            raise ValueError(f"{where}{name}: expected finite numbers of at least {least:g}")
        return fields[name]

    checked("intercept", "float64", coef.shape[:-1])
    checked("l2", "float64", (strengths,), 0)
    checked("value", "float64", shape)
    checked("steps", "i", shape, 0)
    folds = checked("fold_gap", "float64", (*targets, None, strengths)).shape
    for name, expected in (("status", shape), ("fold_status", folds)):
        if not all(isinstance(one, Status) for one in checked(name, "O", expected).flat):
            raise ValueError(f"{where}{name}: expected a Status each")
    if fields["scale"] is not None:
        checked("scale", "float64", (features,), np.finfo(float).smallest_subnormal)
    if (labels := fields["classes_"]) is not None:
        kind = labels.dtype.kind if isinstance(labels, np.ndarray) and labels.dtype.kind in "biu" else "U"
        check_array(f"{where}classes_", labels, kind, (coef.shape[-2] if has_classes else 2,))
    if fields["scores"] is not None:
        checked("scores", "float64", (*targets, max(1, folds[-2]), strengths))
        best = np.asarray(fields["best"])
        check_array(f"{where}best", best, "i", targets)
        if not ((best >= 0) & (best < strengths)).all():
            raise ValueError(f"{where}best: expected an index of {strengths} strengths, got {fields['best']}")
    elif fields["best"] is not None:
        raise ValueError(f"{where}best: expected None without scores, got {fields['best']}")
    certificate = fields["certificate"]
    names = certificate_arrays(certificate)["bound"]
    for name, form in certificate_form(shape).items():
        array = names if name == "bound" else getattr(certificate, name)
        check_array(f"{where}certificate.{name}", array, *form, may_be_nan=name != "gap")
    columns = fields[NAMES]
    if columns is not None and (len(columns) != features or not all(isinstance(name, str) for name in columns)):
        raise ValueError(f"{where}{NAMES}: expected the names of {features} columns, got {columns!r:.200}")


def _names(found: object) -> tuple[str, ...] | None:
    """Return the names of columns, or None for heads without names."""
    if found is not None and not isinstance(found, list):
        raise ValueError(f"{NAMES}: expected a list of names, got {found!r:.200}")
    return None if found is None else tuple(found)


def as_statuses(names: np.ndarray) -> np.ndarray:
    """Return the statuses of an array of names, in its shape."""
    return np.array([Status(name) for name in names.ravel()], object).reshape(names.shape)


def certificate_arrays(certificate: Certificate) -> dict[str, np.ndarray]:
    """Return a certificate of several heads as arrays. The names of the bounds have the shape of the numbers."""
    return {name: np.reshape(getattr(certificate, name), np.shape(certificate.gap)) for name in CERTIFICATE_ARRAYS}


def certificate_form(shape: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the dtype and the shape of each of the `certificate_arrays` of heads of that shape."""
    return {name: ("U" if name == "bound" else "float64", shape) for name in CERTIFICATE_ARRAYS}


def merge_certificates(mask: np.ndarray, first: Certificate, second: Certificate) -> Certificate:
    """Return the certificate with the heads of `first` where the mask is true, and those of `second` elsewhere."""
    a, b = certificate_arrays(first), certificate_arrays(second)
    return certificate_from_arrays({name: np.where(mask, a[name], b[name]) for name in CERTIFICATE_ARRAYS})


def certificate_from_arrays(arrays: dict[str, np.ndarray]) -> Certificate:
    """Return the certificate from arrays that `certificate_arrays` made."""
    value, gradient_norm, gap, rounding, bound, null_value, improvement = (
        arrays[name] for name in CERTIFICATE_ARRAYS
    )
    names = tuple(map(str, bound.ravel()))
    return Certificate(value, gradient_norm, gap, rounding, names, null_value=null_value, improvement=improvement)
