"""The statuses with which a fit ends."""

from enum import StrEnum


class Status(StrEnum):
    """Reason why a fit ended, part of every result.

    >>> Status.CONVERGED == "converged"
    True
    """

    CONVERGED = "converged"
    """The stopping rule was met."""
    OUT_OF_STEPS = "out of steps"
    """The rule was not met within `max_steps` updates."""
    DIVERGED = "diverged"
    """The objective is not finite, or it is above its initial value."""
    PRECISION_FLOOR = "precision floor"
    """An update changed no bit of parameters and state, so no further step in this dtype changes anything.

    Of `fit_heads`: the certified gap stays above its tolerance, although steps are left.
    """
    STOPPED = "stopped"
    """The callback asked to stop."""
    SEPARABLE = "separable"
    """Without a penalty the classes are separable: J has no minimum, and the coefficients would grow for ever."""
    QUASI_SEPARABLE = "quasi-separable"
    """Without a penalty a hyperplane touches the classes and crosses none: J has no minimum either."""
    CLASS_ABSENT = "class absent"
    """Converged, but some classes have no training row: their intercepts are −∞ and their coefficients 0."""
    UNPROVEN = "unproven"
    """Without a penalty no bound on J − J* is known. The solver stopped at a flat J or out of steps."""
