from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like

from dlcore import linalg, reference
from dlcore.tensors import Layout, over_examples

LAYOUTS = [
    ("example feature", "example"),
    ("sequence sample", "sequence"),
    ("sequence sample feature", "sequence"),
    ("height width example", "example"),
    ("height width channel example", "example"),
    ("height width channel frame", "frame"),
    ("height width depth channel frame", "frame"),
    ("height example width", "example"),
]
"""Every layout of the curriculum with many examples, and a layout with the example axis in the middle."""


def contrast(x):
    """Return a smooth function of one example whose value depends on the order of the axes."""
    weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return jnp.sum(jnp.tanh(x) * weights)


def contrast_numpy(x):
    x = np.asarray(x, np.float64)
    return (np.tanh(x) * np.cos(np.arange(x.size)).reshape(x.shape)).sum()


def many(names: str):
    return random_like(len(names), *range(3, 3 + len(names.split())))


@pytest.mark.parametrize(("names", "over"), LAYOUTS)
def test_a_function_of_one_example_runs_over_every_layout(names, over):
    layout, x = Layout(names, over), many(names)
    expected = reference.tensors.over_examples(contrast_numpy, x, layout.axis(over))
    mapped = over_examples(contrast, layout)
    assert_close(mapped(x), expected, units=4 * np.sqrt(x.size), scale=1)
    assert_close(jax.jit(mapped)(x), expected, units=4 * np.sqrt(x.size), scale=1)


@pytest.mark.parametrize(("names", "over"), LAYOUTS)
def test_gradients_have_the_layout_of_the_data(names, over):
    layout, x = Layout(names, over), many(names)
    got = jax.jit(jax.grad(lambda x: over_examples(contrast, layout)(x).sum()))(x)
    one = np.cos(np.arange(x.size // x.shape[layout.axis(over)])).reshape(np.delete(x.shape, layout.axis(over)))
    expected = np.expand_dims(one, layout.axis(over)) / np.cosh(np.asarray(x, np.float64)) ** 2
    assert_close(got, expected, units=16, scale=1)


def test_shared_arguments_and_trees_of_results():
    x, w = random_like(0, 4, 5), random_like(1, 4)

    def f(x, w, scale):
        return {"dot": linalg.vecdot(x, w), "scaled": scale * x}

    got = over_examples(f, Layout("feature example"))(x, w, 2.0)
    assert_close(got["dot"], np.asarray(x, np.float64).T @ np.asarray(w, np.float64), units=8)
    assert_close(got["scaled"], 2 * np.asarray(x, np.float64).T, units=0)


def test_no_examples_give_no_results():
    assert over_examples(jnp.sum, Layout("feature example"))(jnp.zeros((4, 0))).shape == (0,)


@pytest.mark.parametrize("names", ["height width example", "height example width", "example height width"])
def test_the_data_are_not_reordered(names):
    """The temporary memory of the compiled program is below a tenth of the images, for any example axis."""
    layout = Layout(names)
    images = jax.ShapeDtypeStruct([4096 if name == "example" else 28 for name in layout.axes], DTYPE)
    weights = jax.ShapeDtypeStruct((28, 28), DTYPE)

    def squashed(x, w):
        return over_examples(lambda one, w: jnp.tanh((one * w).sum()), layout)(x, w)

    def lengths(x, w):
        return over_examples(lambda one: jnp.sqrt(jnp.square(one).sum()), layout)(x)

    for program in (squashed, lengths, jax.grad(lambda x, w: squashed(x, w).sum())):
        memory: Any = jax.jit(program).lower(images, weights).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 28 * 28 * 4096 * DTYPE.itemsize / 10, program


def test_a_layout_is_a_value():
    layout = Layout("height  width example")
    assert layout.axes == ("height", "width", "example")
    assert layout == Layout("height  width example")
    assert len({layout, Layout("height  width example")}) == 1
    assert layout.of_one().names == "height width"
    assert Layout("time", over="time").of_one().ndim == 0
    x = jnp.arange(6).reshape(1, 2, 3)
    np.testing.assert_array_equal(layout.rearrange(x, "example height width"), np.asarray(x).transpose(2, 0, 1))
    assert layout.check(x) is x


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: Layout("height height", over=""), "every axis once, got 'height height'"),
        (ValueError, lambda: Layout("height width"), "over to be one of the axes 'height width', got 'example'"),
        (ValueError, lambda: Layout("height, example"), r"words separated by spaces, got 'height,'"),
        (TypeError, lambda: Layout(["height"]), "names and over as strings"),  # pyright: ignore[reportArgumentType]
        (ValueError, lambda: Layout("example").axis("width"), "no axis 'width' in 'example'"),
        (ValueError, lambda: Layout("a example").check(jnp.ones(3)), r"2-D \[a, example\], got 1-D.*\(3,\)"),
        (ValueError, lambda: Layout("a example").rearrange(jnp.ones((1, 2)), "a b"), "axes of 'a example'.*'a b'"),
        (ValueError, lambda: over_examples(jnp.sum, Layout("a", over="")), "is that of one example"),
        (
            ValueError,
            lambda: over_examples(jnp.sum, Layout("a example"))(jnp.ones(3)),
            r"got 1-D with shape \(3,\)",
        ),
        (TypeError, lambda: over_examples(jnp.ones(3), Layout("example")), "a function of one example, got"),  # pyright: ignore[reportArgumentType]
        (TypeError, lambda: over_examples(jnp.sum, "a example"), "expected a Layout, got 'a example'"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_invalid_layouts_are_named(error, call, message):
    with pytest.raises(error, match=message):
        call()
