"""Checks of linear algebra with well and ill conditioned matrices; errors in units of n or n·cond roundings."""

import operator
from collections.abc import Callable, Iterable
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from dlcore import linalg
from dlcore._core.types import Array
from dlcore.reference import linalg as reference
from dlcore.verification.check import Check, Exact, Results, check_result

N = 6
"""The size of all matrices, so that few programs are compiled."""

VECTOR_NORMS, MATRIX_NORMS = (1, 2, 3, np.inf), ("fro", "nuc", 1, 2, np.inf)

HALVES = (jnp.bfloat16, jnp.float16)


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of products, norms, angles, predicates and factorisations."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(4, N, N)).astype(dtype) for _ in range(2))
    x, y = (random.normal(size=(4, N)).astype(dtype) for _ in range(2))
    return [
        *_elementwise(a, b),
        *_products(a, b, x, y),
        *_norms(a, x, dtype),
        _angle(dtype),
        *_predicates(dtype),
        *_solutions(dtype),
        _condition_and_rank(dtype),
    ]


def _check(name: str, expected: Callable[..., Exact], *inputs: np.ndarray) -> Check:
    """Return the check of a function of `dlcore.linalg` with one result."""
    return check_result(f"linalg.{name}", lambda *args: getattr(linalg, name)(*args), expected, inputs)


def _n_ulp(value: npt.ArrayLike, size: npt.ArrayLike, bound: float = 1.0) -> Exact:
    """Return a result with n rounding errors of a size."""
    return Exact(value, bound, N * np.asarray(size), unit="n·ulp")


def _elementwise(a: np.ndarray, b: np.ndarray) -> list[Check]:
    """Return checks of functions that round once or not at all."""
    identities = Exact(np.broadcast_to(np.eye(N), (len(a), N, N)), 0)
    return [
        _check("add", lambda a, b: Exact(reference.add(a, b), 0.5), a, b),
        _check("multiply", lambda a, b: Exact(reference.multiply(a, b), 0.5), a, b),
        check_result("linalg.identity", lambda a: linalg.identity(N, dtype=a.dtype), lambda a: identities, (a,)),
        _check("matrix_transpose", lambda a: Exact(reference.matrix_transpose(a), 0), a),
    ]


def _products(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[Check]:
    """Return checks of sums of n products, with at most n rounding errors of the sum of magnitudes."""

    def outer(x: np.ndarray, y: np.ndarray) -> Exact:
        return Exact(np.stack([reference.outer(*pair) for pair in zip(x, y, strict=True)]), 0.5)

    def diagonal_size(a: np.ndarray) -> np.ndarray:
        return np.abs(np.diagonal(a, axis1=-2, axis2=-1)).sum(-1)

    def product(name: str) -> Callable[..., Exact]:
        f = getattr(reference, name)
        return lambda a, b: _n_ulp(f(a, b), f(np.abs(a), np.abs(b)))

    return [
        _check("matmul", product("matmul"), a, b),
        _check("vecdot", product("vecdot"), x, y),
        _check("outer", outer, x, y),
        _check("trace", lambda a: _n_ulp(reference.trace(a), diagonal_size(a)), a),
    ]


def _norms(a: np.ndarray, x: np.ndarray, dtype: np.dtype) -> list[Check]:
    """Return checks of norms, for vectors also near the ends of the range of the dtype."""
    largest = np.abs(x).max()
    entries = np.where(np.abs(x) * 2**6 < largest, largest, x)  # no entry is subnormal at either end
    ends = (1.0, float(jnp.finfo(dtype).tiny) * 2.0**8, float(jnp.finfo(dtype).max) / 2.0**8)
    vectors = np.concatenate([*(entries * np.asarray(end, dtype) for end in ends), np.zeros_like(x[:1])])

    def exact(norm: np.ndarray) -> Exact:
        return _n_ulp(norm, norm, 2.0)

    def vector_norms(x: Array) -> Results:
        return {str(order): linalg.vector_norm(x, order) for order in VECTOR_NORMS}

    def expected_vector_norms(x: np.ndarray) -> dict[str, Exact]:
        return {str(order): exact(reference.vector_norm(x, order, axis=-1)) for order in VECTOR_NORMS}

    def matrix_norms(a: Array) -> Results:
        return {str(order): linalg.matrix_norm(a, order) for order in MATRIX_NORMS}

    def expected_matrix_norms(a: np.ndarray) -> dict[str, Exact]:
        return {str(order): exact(reference.matrix_norm(a, order)) for order in MATRIX_NORMS}

    return [
        Check("linalg.vector_norm", vector_norms, expected_vector_norms, (vectors,)),
        Check("linalg.matrix_norm", matrix_norms, expected_matrix_norms, (a,)),
        _check("spectral_norm", lambda a: exact(reference.spectral_norm(a)), a),
    ]


def _angle(dtype: np.dtype) -> Check:
    """Return the check of angles from 0 to π between vectors of different lengths."""
    angles = np.array([0.0, 1e-3, 0.5, np.pi / 2, 3.0, np.pi])
    e1, e2 = np.eye(N)[:2]
    x = np.stack([e1] * len(angles)) * 2.0**10
    y = (np.cos(angles)[:, None] * e1 + np.sin(angles)[:, None] * e2) * 2.0**-9
    inputs = x.astype(dtype), y.astype(dtype)
    return _check("angle", lambda x, y: _n_ulp(reference.angle(x, y), np.ones(len(x))), *inputs)


def _predicates(dtype: np.dtype) -> list[Check]:
    """Return checks of predicates with clear answers."""
    rotation = _with_spectrum(np.ones(N), 1)
    a = np.stack([rotation, rotation + rotation.T, 2 * rotation]).astype(dtype)
    x = np.stack([rotation[0], rotation[0]]).astype(dtype)
    y = np.stack([rotation[1], rotation[0]]).astype(dtype)

    def answers(*expected: bool) -> Callable[..., Exact]:
        return lambda *_: Exact(np.array(expected, np.float64), 0.0)

    return [
        _check("is_orthogonal", answers(True, False, False), a),
        check_result(
            "linalg.are_orthonormal",
            lambda a: linalg.are_orthonormal(a[:3]),
            answers(True, False, False),
            (a,),
        ),
        _check("is_symmetric", answers(False, True, False), a),
        _check("are_orthogonal", answers(True, False), x, y),
    ]


def _solutions(dtype: np.dtype) -> list[Check]:
    """Return checks of solvers: well conditioned, ill conditioned, and with columns of different scales."""
    smallest = 1e-1 if dtype in HALVES else 1e-4
    graded = _with_spectrum(np.ones(N), 2) * np.geomspace(1, smallest, N)
    a = [_with_spectrum(np.geomspace(1, end, N), seed) for seed, end in enumerate((0.5, smallest))]
    a = np.stack([*a, graded]).astype(dtype)
    tall = np.concatenate([a, a[:, ::-1] + a], axis=1)
    b = np.random.default_rng(5).normal(size=(len(a), N)).astype(dtype)
    tall_b = np.random.default_rng(6).normal(size=(len(a), 2 * N)).astype(dtype)
    can_refine = dtype not in HALVES

    def solve(a: Array, b: Array) -> Results:
        refined = {"refined": linalg.solve(a, b, refine=jnp.float32)} if can_refine else {}
        return {"": linalg.solve(a, b), **refined}

    def expected_solve(a: np.ndarray, b: np.ndarray) -> dict[str, Exact]:
        x = np.stack([_solve_exactly(*pair) for pair in zip(a, b, strict=True)])
        refined = {"refined": Exact(x, 4.0, _largest(x), unit="ulp")} if can_refine else {}
        return {"": _n_cond_ulp(x, _condition(a)), **refined}

    def lstsq(a: Array, b: Array) -> Results:
        result = linalg.lstsq(a, b)
        refined = {"refined": linalg.lstsq(a, b, refine=jnp.float32).solution} if can_refine else {}
        return {
            "solution": result.solution,
            "residual norm": result.residual_norm,
            "rank": result.rank,
            **refined,
        }

    def expected_lstsq(a: np.ndarray, b: np.ndarray) -> dict[str, Exact]:
        results = [reference.lstsq(*pair) for pair in zip(a, b, strict=True)]
        x, norm, rank = (np.stack([result[k] for result in results]) for k in range(3))
        s = np.linalg.svd(a, compute_uv=False)
        size = np.abs(x).max(-1) + _condition(a) * norm / s[:, 0]
        refined = {"refined": Exact(_lstsq_exactly(a, b), 4.0, size[:, None], unit="ulp")} if can_refine else {}
        return {
            "solution": Exact(x, 1.0, (2 * N * _condition(a) * size)[:, None], unit="n·cond·ulp"),
            "residual norm": Exact(norm, 1.0, 2 * N * (np.linalg.norm(b, axis=-1) + s[:, 0] * size), unit="n·ulp"),
            "rank": Exact(rank.astype(np.float64), 0.0),
            **refined,
        }

    return [
        Check("linalg.solve", solve, expected_solve, (a, b)),
        _check("inv", lambda a: _n_cond_ulp(reference.inv(a), _condition(a)), a),
        _check("pinv", lambda a: _n_cond_ulp(reference.pinv(a), _condition(a)), tall),
        Check("linalg.lstsq", lstsq, expected_lstsq, (tall, tall_b), covers=("linalg.LeastSquares",)),
    ]


def _condition_and_rank(dtype: np.dtype) -> Check:
    """Return the check of condition number and rank, for matrices of full rank and of rank 3."""
    smallest = 1e-1 if dtype in HALVES else 1e-4
    full_rank = [_with_spectrum(np.geomspace(1, end, N), 7 + k) for k, end in enumerate((0.5, smallest))]
    rank_3 = np.kron(np.diag([1.0, 2.0, 4.0]), np.ones((2, 2)))
    a = np.stack([*full_rank, rank_3]).astype(dtype)

    def compute(a: Array) -> Results:
        return {"cond": linalg.cond(a), "rank": linalg.matrix_rank(a)}

    def expected(a: np.ndarray) -> dict[str, Exact]:
        cond = reference.cond(a)
        cond[-1] = np.nan  # the smallest singular value of a singular matrix is a rounding error
        return {
            "cond": Exact(cond, 2.0, N * cond**2, unit="n·cond·ulp"),
            "rank": Exact(np.array([N, N, 3.0]), 0.0),
        }

    return Check("linalg.cond", compute, expected, (a,), covers=("linalg.matrix_rank",))


def _solve_exactly(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the solution of a x = b by elimination in fractions: a refined solution beats any float64 solver."""
    return _eliminate([_fractions((*row, right)) for row, right in zip(a, b, strict=True)])


def _lstsq_exactly(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return least-squares solutions by the normal equations in fractions, without rounding errors."""
    solutions = []
    for matrix, right in zip(a, b, strict=True):
        columns = [_fractions(column) for column in (*matrix.T, right)]
        rows = [[sum(map(operator.mul, left, column), Fraction()) for column in columns] for left in columns[:N]]
        solutions.append(_eliminate(rows))
    return np.array(solutions)


def _fractions(numbers: Iterable[float]) -> list[Fraction]:
    return [Fraction(float(number)) for number in numbers]


def _eliminate(rows: list[list[Fraction]]) -> np.ndarray:
    """Return the solution of linear equations with the right-hand side in the last column."""
    for k in range(N):
        pivot = next(i for i in range(k, N) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [entry / rows[k][k] for entry in rows[k]]
        for i in range(N):
            if i != k:
                rows[i] = [entry - rows[i][k] * above for entry, above in zip(rows[i], rows[k], strict=True)]
    return np.array([float(row[N]) for row in rows])


def _n_cond_ulp(x: np.ndarray, condition: np.ndarray) -> Exact:
    """Return a result with n·condition rounding errors of the largest entry."""
    scale = N * condition.reshape(-1, *(1,) * (x.ndim - 1)) * _largest(x)
    return Exact(x, 1.0, scale, unit="n·cond·ulp")


def _condition(a: np.ndarray) -> np.ndarray:
    s = np.linalg.svd(a, compute_uv=False)
    return s[..., 0] / s[..., -1]


def _largest(x: np.ndarray) -> np.ndarray:
    """Return the largest magnitude of each example."""
    return np.broadcast_to(np.abs(x).max(tuple(range(1, x.ndim)), keepdims=True), x.shape)


def _with_spectrum(spectrum: np.ndarray, seed: int) -> np.ndarray:
    """Return a random matrix with these singular values."""
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.normal(size=(N, N)))[0] for _ in range(2))
    return (left * spectrum) @ right
