import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like
from oracles.matrices import TALL, central_difference, column_scales, exact_solution, with_spectrum

from dlcore import linalg, reference

lstsq = jax.jit(linalg.lstsq, static_argnames="refine")


def figures(a, b):
    """Return the exact solution, its scales, the scaled condition number and the residual norm."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x, scales = exact_solution(a, b), column_scales(a)
    wide = a.shape[0] < a.shape[1]
    condition = np.linalg.cond(a / scales[:, None] if wide else a / scales)
    residual = 0 if wide else np.linalg.norm((b - a @ x).astype(float))
    return x, np.ones(len(x)) if wide else 1 / scales, condition, residual


@pytest.mark.parametrize("family", TALL)
@pytest.mark.parametrize("wide", [False, True])
def test_lstsq_of_full_rank(family, wide):
    """|x − x*| ≤ c·eps·(κ|x| + κ²|r|), in the scaled problem (Wedin's bound)."""
    a = jnp.asarray(TALL[family].T if wide else TALL[family], DTYPE)
    b = random_like(7, a.shape[0])
    x, scales, condition, residual = figures(a, b)
    got = lstsq(a, b)
    bound = condition * np.linalg.norm(x / scales) + condition**2 * residual
    assert_close(np.asarray(got.solution, np.float64) / scales, x / scales, units=16, scale=bound)
    assert got.rank == min(a.shape)
    # The rounding of x alone leaves eps·‖a‖‖x‖.
    amount = condition * np.linalg.norm(b) + np.linalg.norm(a) * np.linalg.norm(x)
    assert_close(got.residual_norm, residual, units=16, scale=amount)
    twin = reference.linalg.lstsq(a, b)
    assert twin[2] == min(a.shape)
    assert_close(got.singular_values, twin[3], units=64)
    assert got.solution.dtype == got.singular_values.dtype == got.residual_norm.dtype == DTYPE


@pytest.mark.parametrize("family", TALL)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("factors", [jnp.float32, DTYPE])
def test_refined_lstsq_is_accurate_to_rounding(family, wide, factors):
    a = jnp.asarray(TALL[family].T if wide else TALL[family], DTYPE)
    b = random_like(7, a.shape[0])
    x, scales, _, _ = figures(a, b)
    got = lstsq(a, b, refine=factors)
    assert_close(np.asarray(got.solution, np.float64) / scales, x / scales, units=2)
    assert got.rank == min(a.shape)


def test_refinement_survives_a_large_residual():
    """A factorisation loses digits through κ²|r| (Wampler's fifth set)."""
    a = jnp.asarray(with_spectrum(np.geomspace(1, 1e-3, 6), 20, 6), DTYPE)
    away = np.linalg.qr(np.asarray(a, np.float64), mode="complete")[0][:, -1]
    b = jnp.asarray(np.asarray(a, np.float64) @ np.ones(6) + 1e4 * away, DTYPE)
    x = exact_solution(a, b)
    assert_close(lstsq(a, b, refine=jnp.float32).solution, x, units=32)
    assert np.abs(np.asarray(lstsq(a, b).solution) - x).max() > 1e4 * EPS * np.abs(x).max()


def test_refinement_needs_full_rank():
    a = jnp.asarray(with_spectrum([1, 1e-1, 1e-10], 20, 6), DTYPE)
    b = random_like(0, 20)
    assert jnp.isnan(lstsq(a, b, refine=jnp.float32).solution).all()
    with pytest.raises(np.linalg.LinAlgError, match="lstsq: the refinement does not converge"):
        linalg.lstsq(a, b, refine=jnp.float32)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_lstsq_of_deficient_rank(wide, scaled, rank):
    """The solution is the shortest, even if the columns have very different units."""
    a = with_spectrum([2, 1, 0.5, 0.25][:rank], 20, 6, seed=rank)
    if scaled:
        a = a * 10.0 ** np.array([3, -2, 0, 1, -3, 2])
    a = jnp.asarray(a.T if wide else a, DTYPE)
    b = random_like(1, a.shape[0], 2)
    cutoff = 1e3 * EPS  # above what rounding the entries to DTYPE adds to the rank
    got = lstsq(a, b, cutoff)
    assert got.rank == rank
    expected, norm, twin_rank, _ = reference.linalg.lstsq(a, b, cutoff)
    assert twin_rank == rank
    values = np.linalg.svd(np.asarray(a, np.float64), compute_uv=False)[: max(rank, 1)]
    condition = values[0] / values[-1] if rank else 1
    amount = condition * np.abs(expected).max() + condition * 2 / values[-1] if rank else 1
    assert_close(got.solution, expected, units=64, scale=amount)
    assert_close(got.residual_norm, norm, units=64, scale=10 * condition)


def test_lstsq_of_a_zero_and_a_repeated_column():
    column = random_like(0, 20)
    a = jnp.stack([column, jnp.zeros_like(column), column], 1)
    got = lstsq(a, 2 * column)
    assert got.rank == 1
    assert_close(got.solution, [1, 0, 1], units=16)
    assert_close(got.residual_norm, 0, units=64, scale=1)


@pytest.mark.parametrize(
    ("shape", "right"), [((300, 40), (300, 2)), ((2, 3, 9, 4), (3, 9, 2)), ((40, 300), (40,))]
)
def test_lstsq_at_sizes_and_in_batches(shape, right):
    a, b = random_like(0, *shape), random_like(1, *right)
    got, expected = linalg.lstsq(a, b), reference.linalg.lstsq(a, b)
    assert_close(got.solution, expected[0], units=100)
    assert_close(got.residual_norm, expected[1], units=200, scale=10)
    np.testing.assert_array_equal(got.rank, expected[2])
    wide = np.asarray(a, np.float64).reshape(-1, *shape[-2:])[0]
    np.testing.assert_allclose(
        reference.linalg.lstsq(wide, np.ones(shape[-2]))[0],
        np.linalg.lstsq(wide, np.ones(shape[-2]))[0],
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_lstsq_of_empty_systems(shape):
    b = jnp.ones(shape[0], DTYPE)
    for refine in (None, jnp.float32):
        got = linalg.lstsq(jnp.ones(shape, DTYPE), b, refine=refine)
        assert_close(got.solution, np.zeros(shape[1]), units=0)
        assert_close(got.residual_norm, np.sqrt(shape[0]), units=1)
        assert got.rank == 0
    assert linalg.lstsq(jnp.ones((0, 4, 3)), jnp.ones((4, 2))).solution.shape == (0, 3, 2)


@pytest.mark.parametrize("scale", [1e34, 1e-34])
def test_lstsq_at_the_ends_of_the_range(scale):
    a = jnp.asarray(with_spectrum([2, 1.8, 1.5, 1.1, 0.8, 0.5], 20, 6), DTYPE)  # a shape compiled before
    b = random_like(1, 20)
    x = exact_solution(a, b)
    for refine in (None, jnp.float32):
        same = lstsq(a * scale, b * scale, refine=refine).solution
        assert_close(same, x, units=64)
        assert_close(lstsq(a * scale, b, refine=refine).solution * scale, x, units=64)
        assert_close(lstsq(a, b * scale, refine=refine).solution / scale, x, units=64)
        wide = lstsq(a.T * scale, b[:6], refine=refine).solution * scale
        assert_close(wide, exact_solution(a.T, b[:6]), units=64)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_lstsq_of_nan_and_infinity(bad):
    a = jnp.eye(3, dtype=DTYPE).at[1, 1].set(bad)
    for refine in (None, jnp.float32):
        got = lstsq(a, jnp.ones(3, DTYPE), refine=refine)
        assert jnp.isnan(got.solution).all()
        assert got.rank == -1
        assert jnp.isnan(
            lstsq(jnp.eye(3, dtype=DTYPE), jnp.array([1, bad, 1], DTYPE), refine=refine).solution
        ).any()


def test_lstsq_of_halves_and_integers():
    a = jnp.array([[1, 0], [1, 1], [1, 2]])
    assert_close(linalg.lstsq(a, jnp.array([1, 3, 5])).solution, [1, 2], units=32)
    half = linalg.lstsq(a.astype(jnp.bfloat16), jnp.array([1, 3, 5], jnp.bfloat16))
    assert half.solution.dtype == jnp.bfloat16
    assert_close(half.solution, [1, 2], units=1, dtype=jnp.bfloat16)


def test_lstsq_of_complex_numbers():
    a, b = jax.lax.complex(random_like(0, 9, 4), random_like(1, 9, 4)), random_like(2, 9)
    for matrix, right in ((a, b), (a.T, b[:4])):
        got = linalg.lstsq(matrix, right.astype(a.dtype))
        expected = np.linalg.lstsq(np.asarray(matrix, complex), np.asarray(right))[0]
        np.testing.assert_allclose(got.solution, expected, atol=100 * EPS)


def test_lstsq_refuses_invalid_arguments():
    with pytest.raises(ValueError, match=r"rows of b.*\(3, 2\) and \(2,\)"):
        linalg.lstsq(jnp.ones((3, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"expected a matrix a.*\(3,\)"):
        linalg.lstsq(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match="rcond: expected a finite number of at least 0"):
        linalg.lstsq(jnp.ones((3, 2)), jnp.ones(3), -1.0)
    with pytest.raises(ValueError, match=r"rcond: expected one number, got shape \(2,\)"):
        linalg.lstsq(jnp.ones((3, 2)), jnp.ones(3), jnp.ones(2))


DIRECTIONS = {
    "tall": (with_spectrum([3, 2, 1, 0.5], 9, 4), None),
    "wide": (with_spectrum([3, 2, 1, 0.5], 4, 9), None),
    "deficient tall": (with_spectrum([2, 1], 9, 4), 2),
    "deficient wide": (with_spectrum([2, 1], 4, 9), 2),
}


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_derivative_of_lstsq(kind):
    """The reference is central differences in float64 along a path of constant rank."""
    a, rank = DIRECTIONS[kind]
    rng = np.random.default_rng(5)
    n, m = a.shape
    da = rng.normal(size=(n, m))
    if rank is not None:  # (I + tE) A (I + tF) keeps the rank
        e, f = rng.normal(size=(n, n)), rng.normal(size=(m, m))
        path = lambda t: (np.eye(n) + t * e) @ a @ (np.eye(m) + t * f)  # noqa: E731
        da = e @ a + a @ f
    else:
        path = lambda t: a + t * da  # noqa: E731
    b, db = rng.normal(size=(2, n, 2))
    expected = central_difference(
        lambda t: np.linalg.pinv(path(t), 1e-8) @ (b + t * db), np.zeros(()), np.ones(()), 1e-3
    )
    with jax.enable_x64(True):
        a, b, da, db, weights = (jnp.asarray(array) for array in (a, b, da, db, rng.normal(size=(m, 2))))
        x = lambda a, b: linalg.lstsq(a, b, 1e-8).solution  # noqa: E731
        forward = jax.jit(lambda *t: jax.jvp(x, t[:2], t[2:])[1])(a, b, da, db)
        reverse = jax.jit(jax.grad(lambda a, b: (weights * x(a, b)).sum(), argnums=(0, 1)))(a, b)
        np.testing.assert_allclose(forward, expected, rtol=1e-8, atol=1e-8)
        contracted = float((reverse[0] * da).sum() + (reverse[1] * db).sum())
        np.testing.assert_allclose(contracted, (np.asarray(weights) * expected).sum(), rtol=1e-8)
        if rank is None:
            fine = lambda a, b: linalg.lstsq(a, b, refine=jnp.float32).solution  # noqa: E731
            refined = jax.jit(lambda *t: jax.jvp(fine, t[:2], t[2:])[1])(a, b, da, db)
            np.testing.assert_allclose(refined, expected, rtol=1e-8, atol=1e-8)


def test_the_gradient_of_the_residual_norm():
    """∂‖b − Ax‖/∂b is the unit residual, or 0 if the residual is 0."""
    a, b = random_like(0, 9, 4), random_like(1, 9)
    gradient = jax.jit(jax.grad(lambda b: linalg.lstsq(a, b).residual_norm))(b)
    matrix, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    residual = right - matrix @ np.linalg.lstsq(matrix, right)[0]
    assert_close(gradient, residual / np.linalg.norm(residual), units=100)


@pytest.mark.parametrize("seed", range(3))
def test_the_shortest_solution_does_not_depend_on_units(seed):
    """Columns differ by 2⁴⁰ and have rank 4: a pseudo-inverse of the unscaled matrix has no correct digit."""
    rng = np.random.default_rng(seed)
    left, right = rng.integers(-9, 10, (20, 4)), rng.integers(-9, 10, (4, 6))
    right = right * 2.0 ** rng.permutation([-20, -12, -4, 4, 12, 20])
    a, b = jnp.asarray(left @ right, DTYPE), random_like(seed, 20)
    got = lstsq(a, b)
    expected = exact_solution(right, exact_solution(left, b))
    assert got.rank == 4
    assert_close(got.solution, expected, units=200)
