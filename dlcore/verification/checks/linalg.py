"""Linear algebra, well and ill conditioned, against the twins; errors in units of n, or n·cond, roundings."""

import operator
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore import linalg
from dlcore.reference import linalg as twins
from dlcore.verification.check import Check, Exact

N = 6
"""Of all matrices, so that few programs are compiled."""

VECTOR_NORMS, MATRIX_NORMS = (1, 2, 3, np.inf), ("fro", "nuc", 1, 2, np.inf)

HALVES = (jnp.bfloat16, jnp.float16)


def checks(dtype: np.dtype) -> list[Check]:
    """Products, norms, angles, tests, factorisations."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(4, N, N)).astype(dtype) for _ in range(2))
    x, y = (random.normal(size=(4, N)).astype(dtype) for _ in range(2))
    return [
        *_entries(a, b),
        *_products(a, b, x, y),
        *_norms(a, x, dtype),
        _angle(dtype),
        *_tests(dtype),
        *_solutions(dtype),
        _conditions(dtype),
    ]


def _entries(a: np.ndarray, b: np.ndarray) -> list[Check]:
    """What rounds once, or not at all."""

    def units(number: Any, bound: float) -> dict[str, Exact]:
        return {"": Exact(number, bound)}

    one = np.broadcast_to(np.eye(N), (len(a), N, N))
    return [
        Check("linalg.add", lambda a, b: {"": linalg.add(a, b)}, lambda a, b: units(twins.add(a, b), 0.5), (a, b)),
        Check(
            "linalg.multiply",
            lambda a, b: {"": linalg.multiply(a, b)},
            lambda a, b: units(twins.multiply(a, b), 0.5),
            (a, b),
        ),
        Check(
            "linalg.identity",
            lambda a: {"": linalg.identity(N, dtype=a.dtype)},
            lambda a: units(one, 0),
            (a,),
        ),
        Check(
            "linalg.matrix_transpose",
            lambda a: {"": linalg.matrix_transpose(a)},
            lambda a: units(twins.matrix_transpose(a), 0),
            (a,),
        ),
    ]


def _products(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[Check]:
    """Sums of n products, each off by at most n roundings of the sum of the magnitudes."""

    def units(number: Any, magnitude: Any) -> dict[str, Exact]:
        return {"": Exact(number, 1.0, N * magnitude, unit="n·ulp")}

    return [
        Check(
            "linalg.matmul",
            lambda a, b: {"": linalg.matmul(a, b)},
            lambda a, b: units(twins.matmul(a, b), twins.matmul(np.abs(a), np.abs(b))),
            (a, b),
        ),
        Check(
            "linalg.vecdot",
            lambda x, y: {"": linalg.vecdot(x, y)},
            lambda x, y: units(twins.vecdot(x, y), twins.vecdot(np.abs(x), np.abs(y))),
            (x, y),
        ),
        Check(
            "linalg.outer",
            lambda x, y: {"": linalg.outer(x, y)},
            lambda x, y: {"": Exact(np.stack([twins.outer(*pair) for pair in zip(x, y, strict=True)]), 0.5)},
            (x, y),
        ),
        Check(
            "linalg.trace",
            lambda a: {"": linalg.trace(a)},
            lambda a: units(twins.trace(a), np.abs(np.diagonal(a, axis1=-2, axis2=-1)).sum(-1)),
            (a,),
        ),
    ]


def _norms(a: np.ndarray, x: np.ndarray, dtype: np.dtype) -> list[Check]:
    """Norms, near the ends of the range of the dtype too."""
    largest = np.abs(x).max()
    entries = np.where(np.abs(x) * 2**6 < largest, largest, x)  # none of them is subnormal at either end
    ends = (1.0, float(jnp.finfo(dtype).tiny) * 2.0**8, float(jnp.finfo(dtype).max) / 2.0**8)
    sized = np.concatenate([*(entries * np.asarray(end, dtype) for end in ends), np.zeros_like(x[:1])])

    def each(norm: Callable[..., Any], orders: tuple, array: Any) -> dict[str, Any]:
        return {str(order): norm(array, order) for order in orders}

    def units(numbers: dict[str, Any]) -> dict[str, Exact]:
        return {order: Exact(number, 2.0, N * number, unit="n·ulp") for order, number in numbers.items()}

    def of_rows(x: np.ndarray) -> dict[str, Exact]:
        return units({str(order): twins.vector_norm(x, order, axis=-1) for order in VECTOR_NORMS})

    return [
        Check(
            "linalg.vector_norm",
            lambda x: each(lambda *a: linalg.vector_norm(*a), VECTOR_NORMS, x),
            of_rows,
            (sized,),
        ),
        Check(
            "linalg.matrix_norm",
            lambda a: each(lambda *a: linalg.matrix_norm(*a), MATRIX_NORMS, a),
            lambda a: units(each(twins.matrix_norm, MATRIX_NORMS, a)),
            (a,),
        ),
        Check(
            "linalg.spectral_norm",
            lambda a: {"": linalg.spectral_norm(a)},
            lambda a: units({"": twins.spectral_norm(a)}),
            (a,),
        ),
    ]


def _angle(dtype: np.dtype) -> Check:
    """From 0 to π, with lengths of all sizes; off by a few roundings of 1."""
    turns = np.array([0.0, 1e-3, 0.5, np.pi / 2, 3.0, np.pi])
    x = np.stack([np.eye(N)[0]] * len(turns)) * 2.0**10
    y = (np.cos(turns)[:, None] * np.eye(N)[0] + np.sin(turns)[:, None] * np.eye(N)[1]) * 2.0**-9
    return Check(
        "linalg.angle",
        lambda x, y: {"": linalg.angle(x, y)},
        lambda x, y: {"": Exact(twins.angle(x, y), 1.0, np.full(len(x), float(N)), unit="n·ulp")},
        (x.astype(dtype), y.astype(dtype)),
    )


def _tests(dtype: np.dtype) -> list[Check]:
    """Tests that say yes and no where there is no doubt."""
    turned = _with_spectrum(np.ones(N), 1)
    symmetric = turned + turned.T
    a = np.stack([turned, symmetric, 2 * turned]).astype(dtype)
    x = np.stack([turned[0], turned[0]]).astype(dtype)
    y = np.stack([turned[1], turned[0]]).astype(dtype)

    def answers(*expected: bool) -> Callable[..., dict[str, Exact]]:
        return lambda *_: {"": Exact(np.array(expected, np.float64), 0.0)}

    return [
        Check(
            "linalg.is_orthogonal",
            lambda a: {"": linalg.is_orthogonal(a)},
            answers(True, False, False),
            (a,),
        ),
        Check(
            "linalg.are_orthonormal",
            lambda a: {"": linalg.are_orthonormal(a[:3])},
            answers(True, False, False),
            (a,),
        ),
        Check("linalg.is_symmetric", lambda a: {"": linalg.is_symmetric(a)}, answers(False, True, False), (a,)),
        Check(
            "linalg.are_orthogonal", lambda x, y: {"": linalg.are_orthogonal(x, y)}, answers(True, False), (x, y)
        ),
    ]


def _solutions(dtype: np.dtype) -> list[Check]:
    """Solutions of equations, well and ill conditioned, and one with columns of all sizes."""
    hard = 1e-1 if dtype in HALVES else 1e-4
    graded = _with_spectrum(np.ones(N), 2) * np.geomspace(1, hard, N)
    a = np.stack([_with_spectrum(np.geomspace(1, end, N), k) for k, end in enumerate((0.5, hard))] + [graded])
    a = a.astype(dtype)
    tall = np.concatenate([a, a[:, ::-1] + a], axis=1)
    b = np.random.default_rng(5).normal(size=(len(a), N)).astype(dtype)
    longer = np.random.default_rng(6).normal(size=(len(a), 2 * N)).astype(dtype)

    def solved(a: np.ndarray, b: np.ndarray) -> dict[str, Exact]:
        x = np.stack([_exactly_solved(*pair) for pair in zip(a, b, strict=True)])
        found = {"": _conditioned(x, _condition(a))}
        return found if dtype in HALVES else {**found, "refined": Exact(x, 4.0, _largest(x), unit="ulp")}

    def solve(a: Any, b: Any) -> dict[str, Any]:
        found = {"": linalg.solve(a, b)}
        return found if dtype in HALVES else {**found, "refined": linalg.solve(a, b, refine=jnp.float32)}

    def least_squares(a: np.ndarray, b: np.ndarray) -> dict[str, Exact]:
        parts = [twins.lstsq(*pair) for pair in zip(a, b, strict=True)]
        x, norm, rank = (np.stack([part[k] for part in parts]) for k in range(3))
        s = np.linalg.svd(a, compute_uv=False)
        size = np.abs(x).max(-1) + _condition(a) * norm / s[:, 0]
        return {
            "solution": Exact(x, 1.0, (2 * N * _condition(a) * size)[:, None], unit="n·cond·ulp"),
            "residual norm": Exact(norm, 1.0, 2 * N * (np.linalg.norm(b, axis=-1) + s[:, 0] * size), unit="n·ulp"),
            "rank": Exact(rank.astype(np.float64), 0.0),
            **({} if dtype in HALVES else {"refined": Exact(_least(a, b), 4.0, size[:, None], unit="ulp")}),
        }

    def lstsq(a: Any, b: Any) -> dict[str, Any]:
        found = linalg.lstsq(a, b)
        plain = {"solution": found.solution, "residual norm": found.residual_norm, "rank": found.rank}
        if dtype in HALVES:
            return plain
        return {**plain, "refined": linalg.lstsq(a, b, refine=jnp.float32).solution}

    return [
        Check("linalg.solve", solve, solved, (a, b)),
        Check(
            "linalg.inv",
            lambda a: {"": linalg.inv(a)},
            lambda a: {"": _conditioned(twins.inv(a), _condition(a))},
            (a,),
        ),
        Check(
            "linalg.pinv",
            lambda a: {"": linalg.pinv(a)},
            lambda a: {"": _conditioned(twins.pinv(a), _condition(a))},
            (tall,),
        ),
        Check("linalg.lstsq", lstsq, least_squares, (tall, longer), covers=("linalg.LeastSquares",)),
    ]


def _conditions(dtype: np.dtype) -> Check:
    """Condition and rank: of full rank, and of rank 3."""
    hard = 1e-1 if dtype in HALVES else 1e-4
    full = [_with_spectrum(np.geomspace(1, end, N), 7 + k) for k, end in enumerate((0.5, hard))]
    low = np.kron(np.diag([1.0, 2.0, 4.0]), np.ones((2, 2)))
    a = np.stack([*full, low]).astype(dtype)

    def twin(a: np.ndarray) -> dict[str, Exact]:
        number = twins.cond(a)
        number[-1] = np.nan  # what is left of a singular matrix's smallest value is rounding
        return {
            "cond": Exact(number, 2.0, N * number**2, unit="n·cond·ulp"),
            "rank": Exact(np.array([N, N, 3.0]), 0.0),
        }

    return Check(
        "linalg.cond",
        lambda a: {"cond": linalg.cond(a), "rank": linalg.matrix_rank(a)},
        twin,
        (a,),
        covers=("linalg.matrix_rank",),
    )


def _exactly_solved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The solution of a x = b by elimination in fractions: no solver in float64 is as right as a refined one."""
    return _eliminated([_fractions((*row, right)) for row, right in zip(a, b, strict=True)])


def _least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least-squares solutions by the normal equations in fractions, which square no condition."""
    found = []
    for one, right in zip(a, b, strict=True):
        columns = [_fractions(column) for column in (*one.T, right)]
        found.append(
            _eliminated(
                [[sum(map(operator.mul, left, column), Fraction()) for column in columns] for left in columns[:N]]
            )
        )
    return np.array(found)


def _fractions(numbers: Iterable[Any]) -> list[Fraction]:
    return [Fraction(float(number)) for number in numbers]


def _eliminated(rows: list[list[Fraction]]) -> np.ndarray:
    """The solution of equations whose right-hand sides stand last."""
    for k in range(N):
        pivot = next(i for i in range(k, N) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [entry / rows[k][k] for entry in rows[k]]
        for i in range(N):
            if i != k:
                rows[i] = [entry - rows[i][k] * above for entry, above in zip(rows[i], rows[k], strict=True)]
    return np.array([float(row[N]) for row in rows])


def _conditioned(x: np.ndarray, condition: np.ndarray) -> Exact:
    """Off by n times the condition, in roundings of the largest entry."""
    scale = N * condition.reshape(-1, *(1,) * (x.ndim - 1)) * _largest(x)
    return Exact(x, 1.0, scale, unit="n·cond·ulp")


def _condition(a: np.ndarray) -> np.ndarray:
    s = np.linalg.svd(a, compute_uv=False)
    return s[..., 0] / s[..., -1]


def _largest(x: np.ndarray) -> np.ndarray:
    """The largest magnitude of each example."""
    return np.broadcast_to(np.abs(x).max(tuple(range(1, x.ndim)), keepdims=True), x.shape)


def _with_spectrum(spectrum: np.ndarray, seed: int) -> np.ndarray:
    """A random matrix with these singular values."""
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(N, N)))[0] for _ in range(2))
    return (left * spectrum) @ right
