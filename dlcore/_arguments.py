"""Arguments by the names that other libraries give them: refused, with the name that they have here."""

from collections.abc import Mapping
from typing import Any

STRENGTHS = (
    *("C", "Cs", "alpha", "alphas", "lam", "lamb", "lambd", "lambda_", "lmbda", "reg", "reg_lambda"),
    *("reg_param", "reg_strength", "regularization", "l2_reg", "penalty", "weight_decay"),
)
"""Names of the strength of a penalty elsewhere."""

STRENGTH = (
    "l2, the strength of the penalty{where}: l2 = 1/(C·S) for the C of scikit-learn, l2 = 2·alpha/S for the alpha "
    "of its Ridge, S the sum of the weights of the rows (without weights their number)"
)


def refuse_arguments(function: str, given: Mapping[str, Any], where: str = "", **here: str) -> None:
    """Raise a `TypeError` for an argument that a function does not have; it says what is taken instead.

    Args:
      function: its name.
      given: the arguments that it does not have.
      where: what l2 belongs to, where the function has no argument of that name.
      here: what other arguments are called here, by their names elsewhere.
    """
    for name in given:
        reason = f"; it takes {here[name]}" if name in here else ""
        if name in STRENGTHS or (where and name == "l2"):
            reason = f"; it takes {STRENGTH.format(where=where)}"
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{reason}")
