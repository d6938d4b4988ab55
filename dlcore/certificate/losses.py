"""The losses that have a certificate, by name. `README.md` says what a new loss needs."""

from dlcore.certificate.bounds.base import CertifiedLoss
from dlcore.certificate.bounds.logistic import LOGISTIC
from dlcore.certificate.bounds.poisson import POISSON
from dlcore.certificate.bounds.softmax import SOFTMAX
from dlcore.certificate.bounds.squared import SQUARED

CERTIFIED_LOSSES = {loss.name: loss for loss in (LOGISTIC, SOFTMAX, SQUARED, POISSON)}
"""The records by name."""


def certified_loss(argument: str, name: str) -> CertifiedLoss:
    """Return the record of a loss.

    Args:
      argument: the name of the argument, for the error.
      name: the name of the loss.

    Raises:
      ValueError: if no such loss has a certificate.
    """
    if name not in CERTIFIED_LOSSES:
        *names, last = map(repr, CERTIFIED_LOSSES)
        raise ValueError(f"{argument}: expected {', '.join(names)} or {last}, got {name!r}")
    return CERTIFIED_LOSSES[name]
