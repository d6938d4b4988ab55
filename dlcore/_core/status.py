"""How a computation ended."""

from enum import StrEnum


class Status(StrEnum):
    """How a fit ended. Every result carries one.

    >>> Status.CONVERGED == "converged"
    True
    """

    CONVERGED = "converged"
    """The stopping rule was met."""
    OUT_OF_STEPS = "out of steps"
    """`max_steps` updates were made and the rule was not met."""
    DIVERGED = "diverged"
    """The objective is not finite, or lies above its start."""
    PRECISION_FLOOR = "precision floor"
    """An update changed no bit of parameters and state: no further step in this dtype changes anything."""
    STOPPED = "stopped"
    """The callback asked to stop."""
    SEPARABLE = "separable"
    """Without a penalty the classes separate: J has no minimum, and the coefficients would grow for ever."""
    QUASI_SEPARABLE = "quasi-separable"
    """Without a penalty a hyperplane touches the classes and crosses none: J has no minimum either."""
    CLASS_ABSENT = "class absent"
    """Converged, without the classes of which no row trains it: their intercepts are −∞, their coefficients 0."""
    UNPROVEN = "unproven"
    """Without a penalty no bound on J − J* is known; the solver stopped where it is flat or made all its steps."""
