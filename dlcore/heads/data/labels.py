"""Check of the classes of labels for a loss, and the names of classes in messages."""

import numpy as np

from dlcore._core import host_checks
from dlcore._core.labels import shown
from dlcore.heads.losses import HeadLoss


def check_classes(codes: np.ndarray, classes: np.ndarray, weight: np.ndarray, loss: HeadLoss) -> None:
    """Raise unless labels have as many classes as a loss takes, each in rows of positive weight.

    Args:
      codes: shape (n,), or (n, targets) for a loss without an axis of classes.
      classes: shape (classes,).
      weight: weights of the rows, shape (n,).
      loss: of the heads.
    """
    if loss.has_classes and codes.ndim == 2:
        raise ValueError(
            f"y: expected 1-D [n], got 2-D with shape {codes.shape}; probabilities of the classes are "
            "floating-point numbers, y.astype(float)"
        )
    if codes.ndim != 2:
        host_checks.check_rank("y", codes, 1, "[n]")
    expected = "at least two classes" if loss.has_classes else "two classes"
    if len(classes) > 2 and not loss.has_classes:
        raise ValueError(
            f"y: expected two classes for loss={loss.name!r}, got {len(classes)}: {shown(classes)}; "
            "loss='softmax' takes several"
        )
    for column in codes.T if codes.ndim == 2 else [codes]:
        present = np.flatnonzero(np.bincount(column[weight > 0], minlength=len(classes)))
        if len(present) < 2:
            raise ValueError(
                f"y: expected {expected} in rows of positive weight, got only {shown(classes[present])}"
            )
        if len(present) < len(classes):
            missing = np.setdiff1d(np.arange(len(classes)), present)
            raise ValueError(
                f"y: expected every class in rows of positive weight, got none of {shown(classes[missing])}"
            )


def check_soft_classes(y: np.ndarray, weight: np.ndarray, loss: HeadLoss, where: str) -> None:
    """Raise unless every class has a positive probability in some row of positive weight.

    Args:
      y: probabilities of class 1, shape (n,) or (n, targets), or of all classes, shape (n, classes).
      weight: weights of the rows, shape (n,).
      loss: of the heads.
      where: the name of the rows in the message.
    """
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y: expected [n] or [n, targets], got shape {y.shape}")
    mass = weight @ y if loss.has_classes else np.stack([weight @ (1 - y), weight @ y])
    absent = np.argwhere(mass <= 0)
    if len(absent):
        raise ValueError(
            f"y: expected a positive probability of every class in {where}, got none of class {absent[0][0]}"
        )


def label_of(code: int | np.integer, classes: np.ndarray | None) -> str:
    """Return the text of the label that the number of a class stands for."""
    return f"{int(code)}" if classes is None else shown(classes[[int(code)]])
