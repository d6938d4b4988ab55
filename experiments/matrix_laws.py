"""Which laws of numbers hold for matrices too?

Sums and products of matrices distribute and associate, but do not commute. The transpose reverses a product, and
the inverse undoes a map. The transpose of an orthogonal matrix is its inverse. Each law is checked on many random
matrices, with its error beside its bound. A picture shows the effect of the maps on a figure.

Command: dlcore run matrix_laws

Takes: about 6 s on two idle cores

Expected: every law that is true holds within its rounding bound. AB differs from BA and from the elementwise
product. The examples of the lecture are exact.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from dlcore import linalg
from dlcore.cli import console, experiment, plots

FIGURE = np.array(
    [
        [0, 0],
        [0, 2],
        [1.2, 2],
        [1.2, 1.6],
        [0.4, 1.6],
        [0.4, 1.1],
        [1, 1.1],
        [1, 0.7],
        [0.4, 0.7],
        [0.4, 0],
        [0, 0],
    ]
)
"""Corners of the letter F."""

A = np.array([[1.0, 0.6], [0.0, 1.0]])
B = np.array([[0.6, -0.8], [0.8, 0.6]])
"""A shear and a rotation."""

Law = tuple[float, float]
"""Largest error over all matrices, and its bound."""


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Check the lecture's examples and the laws on random matrices, and draw the picture."""
    check_examples(run)
    laws = measure_laws(100 if options.quick else 2_000)
    for name, (error, bound) in laws.items():
        run.expect(f"{name}: off by {error:.1e}, at most {bound:.1e}", error <= bound)
    check_predicates(run)
    run.save(draw(), "maps.png")
    console.print_table(
        "Laws of matrices on random 6 × 6 matrices, float32, relative to the size of the terms",
        ["law", "largest error", "bound"],
        [[name, f"{error:.1e}", f"{bound:.1e}"] for name, (error, bound) in laws.items()],
    )
    return {"laws": {name: {"error": error, "bound": bound} for name, (error, bound) in laws.items()}}


def check_examples(run: experiment.Run) -> None:
    """Check the examples of the lecture, which are exact in floating point."""
    tall, wide = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), jnp.array([[1.0, 3, 5, 7], [2, 4, 6, 8]])
    product = [[5, 11, 17, 23], [11, 25, 39, 53], [17, 39, 61, 83]]
    run.expect(
        "the transpose of [[1,2],[3,4],[5,6]] is [[1,3,5],[2,4,6]]",
        equal(linalg.matrix_transpose(tall), [[1, 3, 5], [2, 4, 6]]),
    )
    run.expect(
        "10 + A and 10 · A go entry by entry",
        equal(linalg.add(10, tall), tall + 10)
        and equal(linalg.multiply(10, tall), [[10, 20], [30, 40], [50, 60]]),
    )
    run.expect("(3, 2)(2, 4) = (3, 4) is the lecture's product", equal(linalg.matmul(tall, wide), product))
    run.expect("(3, 2)(3, 2) is an error", raises(lambda: linalg.matmul(tall, tall)))
    row, column = wide[:1], linalg.matrix_transpose(wide[:1])
    run.expect(
        "a row times a column has shape (1, 1), two vectors ()",
        linalg.matmul(row, column).shape == (1, 1) and linalg.vecdot(row[0], row[0]).shape == (),
    )
    run.expect(
        "the identity changes nothing", equal(linalg.matmul(linalg.identity(3, dtype=tall.dtype), tall), tall)
    )
    a, b = jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)
    difference = float(jnp.abs(linalg.matmul(a, b) - linalg.matmul(b, a)).max())
    run.expect(f"AB and BA differ by {difference:.2f}", difference > 0.1)
    difference = float(jnp.abs(linalg.matmul(a, b) - linalg.multiply(a, b)).max())
    run.expect(f"AB and the product entry by entry differ by {difference:.2f}", difference > 0.1)
    run.expect(
        "a singular matrix has no inverse, and that is said",
        raises(lambda: linalg.inv(jnp.array([[1.0, 2.0], [2.0, 4.0]]))),
    )


def measure_laws(count: int) -> dict[str, Law]:
    """Return the error and the bound of each law over `count` random triples of matrices."""
    n, eps = 6, float(np.finfo(np.float32).eps)
    a, b, c = (jnp.asarray(m, jnp.float32) for m in np.random.default_rng(0).normal(size=(3, count, n, n)))
    transpose, matmul = linalg.matrix_transpose, linalg.matmul

    def error(left: jax.Array, right: jax.Array, size: jax.Array) -> float:
        return float((jnp.abs(left - right) / size).max())

    size = matmul(jnp.abs(a), jnp.abs(b))
    q = jnp.linalg.qr(a)[0]
    identity = jnp.broadcast_to(jnp.eye(n, dtype=a.dtype), a.shape)
    condition = float(linalg.cond(a).max())
    return {
        "A(B + C) = AB + AC": (
            error(matmul(a, b + c), matmul(a, b) + matmul(a, c), size + matmul(jnp.abs(a), jnp.abs(c))),
            2 * (n + 1) * eps,
        ),
        "(AB)C = A(BC)": (
            error(matmul(matmul(a, b), c), matmul(a, matmul(b, c)), matmul(size, jnp.abs(c))),
            4 * n * eps,
        ),
        "(AB)ᵀ = BᵀAᵀ": (
            error(transpose(matmul(a, b)), matmul(transpose(b), transpose(a)), transpose(size)),
            2 * n * eps,
        ),
        "A⁻¹A = I": (error(matmul(linalg.inv(a), a), identity, jnp.ones_like(a)), 4 * n * eps * condition),
        "QᵀQ = I, Q orthogonal": (error(matmul(transpose(q), q), identity, jnp.ones_like(a)), 8 * n * eps),
        "Q⁻¹ = Qᵀ": (error(linalg.inv(q), transpose(q), jnp.ones_like(a)), 16 * n * eps),
    }


def check_predicates(run: experiment.Run) -> None:
    """Check which vectors and matrices are orthogonal, orthonormal or symmetric."""
    x, y = jnp.array([1.0, 2.0, 2.0]), jnp.array([2.0, 1.0, -2.0])
    degrees = float(jnp.rad2deg(linalg.angle(x, y)))
    run.expect(
        f"(1,2,2) and (2,1,−2) stand at {degrees:.4f}°: orthogonal",
        bool(linalg.are_orthogonal(x, y)) and abs(degrees - 90) < 1e-3,
    )
    run.expect(
        "divided by their length 3 they are orthonormal", bool(linalg.are_orthonormal(jnp.stack([x, y]) / 3))
    )
    run.expect(
        "a rotation is orthogonal, a shear is not",
        bool(linalg.is_orthogonal(jnp.asarray(B, jnp.float32)))
        and not bool(linalg.is_orthogonal(jnp.asarray(A, jnp.float32))),
    )
    run.expect(
        "[[1,3],[4,2]] is not symmetric, [[1,3],[3,2]] is",
        not bool(linalg.is_symmetric(jnp.array([[1.0, 3.0], [4.0, 2.0]])))
        and bool(linalg.is_symmetric(jnp.array([[1.0, 3.0], [3.0, 2.0]]))),
    )


def equal(actual: jax.Array, expected: npt.ArrayLike) -> bool:
    """Return whether all entries are equal."""
    return bool(np.array_equal(np.asarray(actual), np.asarray(expected)))


def raises(compute: Callable[[], jax.Array]) -> bool:
    """Return whether a computation raises an error for wrong input."""
    try:
        compute()
    except (ValueError, np.linalg.LinAlgError):
        return True
    return False


def draw() -> Figure:
    """Draw the image of the letter F under each map."""
    a, b = jnp.asarray(A), jnp.asarray(B)
    maps = {
        "I: nothing": linalg.identity(2, dtype=a.dtype),
        "A: a shear": a,
        "B: a rotation": b,
        "Aᵀ": linalg.matrix_transpose(a),
        "AB: first B, then A": linalg.matmul(a, b),
        "BA: first A, then B": linalg.matmul(b, a),
        "A⊙B: entry by entry": linalg.multiply(a, b),
        "A⁻¹: A undone": linalg.inv(a),
    }
    figure = plots.new_figure(10.0, 5.6)
    figure.suptitle("A matrix is a map, a product one map after the other: the order matters")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, (name, matrix) in zip(panels.flat, maps.items(), strict=True):
        corners = np.asarray(linalg.matmul(jnp.asarray(FIGURE, matrix.dtype), linalg.matrix_transpose(matrix)))
        axes.fill(*FIGURE.T, color="0.85")
        axes.fill(*corners.T, color=plots.COLORS[0], alpha=0.75)
        axes.set(title=name, aspect="equal", xlim=(-2.2, 2.8), ylim=(-0.7, 3.5))
        axes.grid(alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("x₁")
    for axes in panels[:, 0]:
        axes.set_ylabel("x₂")
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
