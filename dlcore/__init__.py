"""The mathematics under deep learning as small pure JAX functions, and a trainer that proves its results."""

TYPE_CHECKING = False  # type checkers take it as true; importing typing would cost more than this whole file
if TYPE_CHECKING:
    from dlcore import (
        calculus,
        data,
        descent,
        export,
        graph,
        linalg,
        losses,
        metrics,
        models,
        objective,
        probing,
        reference,
        tensors,
    )
    from dlcore._core.compilation.compilation_cache import compilation_cache
    from dlcore._core.status import Status
    from dlcore.certificate import Certificate, LinearHeads, certify
    from dlcore.fitting import Fit, fit
    from dlcore.heads import GridEdgeWarning, Heads, fit_heads
    from dlcore.objective import Objective
    from dlcore.sweeping import Sweep, sweep
    from dlcore.verification import verify

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Fit",
    "GridEdgeWarning",
    "Heads",
    "LinearHeads",
    "Objective",
    "Status",
    "Sweep",
    "calculus",
    "certify",
    "compilation_cache",
    "data",
    "descent",
    "export",
    "fit",
    "fit_heads",
    "graph",
    "linalg",
    "losses",
    "metrics",
    "models",
    "objective",
    "probing",
    "reference",
    "sweep",
    "tensors",
    "verify",
]

_MODULES = {
    "Status": "dlcore._core.status",
    "Certificate": "dlcore.certificate",
    "LinearHeads": "dlcore.certificate",
    "certify": "dlcore.certificate",
    "compilation_cache": "dlcore._core.compilation.compilation_cache",
    "Fit": "dlcore.fitting",
    "fit": "dlcore.fitting",
    "GridEdgeWarning": "dlcore.heads",
    "Heads": "dlcore.heads",
    "fit_heads": "dlcore.heads",
    "Objective": "dlcore.objective",
    "Sweep": "dlcore.sweeping",
    "sweep": "dlcore.sweeping",
    "verify": "dlcore.verification",
}
"""The module of every public class and function."""


if not TYPE_CHECKING:  # a type checker should report an unknown name

    def __getattr__(name: str) -> object:
        """Import a public name or a module on first use.

        `dlcore --version` and the signal handlers therefore do not wait for the import of JAX.
        """
        import importlib
        import importlib.util

        if name in _MODULES:
            value = getattr(importlib.import_module(_MODULES[name]), name)
            globals()[name] = value
            return value
        if name.startswith("__") or importlib.util.find_spec(f"{__name__}.{name}") is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
