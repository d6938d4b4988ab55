r"""The logarithm ln(1 + t) of a fraction t, in a third of the operations of XLA's `log1p`.

$\ln(1+t) = t + t^2 Q(t)$, $0 \le t \le 1$

Q is the minimax polynomial of its degree for the relative error of the whole. The exchange algorithm of Remez
found it in 60 digits (Muller, Elementary Functions, section 3.3). ln(1 + t) is singular only at -1: the error
falls by 3 + √8 with each degree. The degrees below leave 2⁻²⁷·⁵ for float32 and 2⁻⁵⁶·⁵ for float64, a tenth of
the rounding. The formula is evaluated as t(1 + tQ), which keeps the relative accuracy of a small t.
"""

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array

SINGLE = (
    -0.49999932771863314786, 0.33330511476349579387, -0.24958588772773591997, 0.19695406848549064189,
    -0.15355413216734952553, 0.10680582362058474735, -0.057664693954015810009, 0.020204710860915546351,
    -0.0033184991536336253207,
)  # fmt: skip
"""The coefficients of Q for float32, of 1, t, t², …"""

DOUBLE = (
    -0.49999999999999459534, 0.33333333333235020721, -0.24999999993675708473, 0.19999999791309229234,
    -0.16666662498415212065, 0.14285658897447787066, -0.12499479621720399258, 0.11107506079540685677,
    -0.099810153976289164499, 0.090131555624790224736, -0.08081217249928098171, 0.070355553856300265206,
    -0.057502248396995471688, 0.042300422722345521772, -0.026744261795285689787, 0.013838802127831138018,
    -0.005543217313449959845, 0.001595778876154377841, -0.00029176927736002202405, 0.000025330733965644263159,
)  # fmt: skip
"""The coefficients of Q for float64."""


def log1p_of_fraction(t: Array) -> Array:
    """Return ln(1 + t) for t in [0, 1], float32 or float64, to within 2.5 ULPs; nan at nan."""
    coefficients = DOUBLE if t.dtype == np.float64 else SINGLE
    q = jnp.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        q = q * t + coefficient
    return t * (t * q + 1)
