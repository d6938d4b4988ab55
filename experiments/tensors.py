"""Does one function of one example run over every layout of data, wherever the examples stand?

Tables, sequences, gray and colour images, video and 3-D video: the same function of ONE example is mapped over
the axis called example, sequence or frame, and compared with a Python loop; its gradient comes back in the
layout of the data.

Command: dlcore run tensors

Takes: about 6 s on two idle cores

Expected: the mapped function equals the loop to 1e-6 in every layout; the compiled program
holds no second copy of the data, wherever the examples stand.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_sample_image

from dlcore import reference
from dlcore.cli import console, experiment, plots
from dlcore.tensors import Layout, over_examples

LAYOUTS = {
    "table": (Layout("example feature"), (500, 30)),
    "sequences": (Layout("sequence sample", over="sequence"), (200, 64)),
    "sequences of features": (Layout("sequence sample feature", over="sequence"), (100, 32, 8)),
    "gray images": (Layout("height width example"), (28, 28, 200)),
    "colour images": (Layout("height width channel example"), (24, 32, 3, 100)),
    "video": (Layout("height width channel frame", over="frame"), (24, 32, 3, 60)),
    "3-D video": (Layout("height width depth channel frame", over="frame"), (12, 10, 8, 3, 40)),
}


def strength(x: jax.Array) -> jax.Array:
    """Of ONE example of any rank: the root mean square of its entries."""
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def strength_numpy(x: np.ndarray) -> np.ndarray:
    """The same in NumPy float64."""
    x = np.asarray(x, np.float64)
    return np.sqrt((x * x).sum() / x.size)


def main(options: experiment.Options, run: experiment.Run) -> dict[str, Any]:
    """Every layout against the loop; then gray tiles of a photograph by their strength."""
    rows = {}
    for name, (layout, shape) in LAYOUTS.items():
        shape = tuple(
            max(2, n // 4) if options.quick and axis == layout.over else n
            for n, axis in zip(shape, layout.axes, strict=True)
        )
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        rows[name] = compare(layout, x) | {"shape": list(shape)}
        run.expect(f"{name} [{', '.join(layout.axes)}]: equal to the loop to 1e-6", rows[name]["error"] < 1e-6)
        run.expect(
            f"{name}: the program holds no second copy (a tenth of one at most)",
            rows[name]["copies"] < 0.1,
        )
    tiles = photograph_tiles()
    layout = Layout("height width channel example")
    scores = np.asarray(jax.jit(over_examples(strength, layout))(tiles))
    run.save(draw(tiles, scores), "tiles.png")
    console.print_table(
        "One function of one example over every layout, float32",
        ["data", "axes (MAPPED)", "shape", "largest error", "copies of the data"],
        [
            [
                name,
                " ".join(axis.upper() if axis == layout.over else axis for axis in layout.axes),
                "×".join(map(str, rows[name]["shape"])),
                f"{rows[name]['error']:.1e}",
                f"{rows[name]['copies']:.3f}",
            ]
            for name, (layout, _) in LAYOUTS.items()
        ],
    )
    return {"layouts": rows, "tiles": int(tiles.shape[-1])}


def compare(layout: Layout, x: np.ndarray) -> dict[str, float]:
    """The largest error against the loop, and the memory of a program for 4,096 examples in copies of the data."""
    mapped = over_examples(strength, layout)
    expected = reference.tensors.over_examples(strength_numpy, x, layout.axis(layout.over))
    error = np.abs(np.asarray(jax.jit(mapped)(x)) - expected).max()
    gradient = jax.jit(jax.grad(lambda x: mapped(x).sum()))
    assert gradient(x).shape == x.shape
    many = [4_096 if name == layout.over else n for n, name in zip(x.shape, layout.axes, strict=True)]
    larger = jax.ShapeDtypeStruct(many, x.dtype)  # compiled, never made
    memory: Any = jax.jit(mapped).lower(larger).compile().memory_analysis()
    return {"error": float(error), "copies": memory.temp_size_in_bytes / (larger.size * x.dtype.itemsize)}


def photograph_tiles() -> np.ndarray:
    """Tiles of 61 × 80 pixels of scikit-learn's photograph of a flower, [height, width, channel, example]."""
    photograph = load_sample_image("flower.jpg").astype(np.float32) / 255
    height, width = 61, 80
    rows, columns = photograph.shape[0] // height, photograph.shape[1] // width
    cut = photograph[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
    return np.ascontiguousarray(cut.transpose(1, 3, 4, 0, 2).reshape(height, width, 3, rows * columns))


def draw(tiles: np.ndarray, scores: np.ndarray) -> Any:
    """The darkest and the brightest tiles."""
    order = np.argsort(scores)
    figure = plots.new_figure(9.0, 3.6)
    figure.suptitle("One function of one image, mapped over the LAST axis, orders the tiles of a photograph")
    panels = figure.subplots(2, 6)
    for row, chosen, word in ((0, order[:6], "dark"), (1, order[-6:], "bright")):
        for axes, index in zip(panels[row], chosen, strict=True):
            axes.imshow(tiles[..., index])
            axes.set_title(f"{word}: {scores[index]:.3f}", fontsize=9)
            axes.axis("off")
    figure.supxlabel("tile, with the root mean square of its intensities (0 black, 1 white)", fontsize=9)
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
