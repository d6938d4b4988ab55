"""Does one function of one example work for every layout of data, wherever the example axis is?

The data are tables, sequences, gray and colour images, video and 3-D video. A function of ONE example is mapped
over the axis called example, sequence or frame, and compared with a Python loop. Its gradient has the layout of
the data.

Command: dlcore run tensors

Takes: about 6 s on two idle cores

Expected: the mapped function equals the loop to 1e-6 in every layout. The compiled program makes no second copy
of the data, wherever the example axis is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

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


def rms(x: jax.Array) -> jax.Array:
    """Return the root mean square of the entries of ONE example of any rank."""
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def rms_numpy(x: np.ndarray) -> np.ndarray:
    """Compute `rms` in NumPy float64."""
    x = np.asarray(x, np.float64)
    return np.sqrt((x * x).sum() / x.size)


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Compare every layout with the loop, and order the tiles of a photograph."""
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
    scores = np.asarray(jax.jit(over_examples(rms, layout))(tiles))
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
    """Return the largest error, and the temporary memory of a program for 4,096 examples over that of the data."""
    mapped = over_examples(rms, layout)
    expected = reference.tensors.over_examples(rms_numpy, x, layout.axis(layout.over))
    error = np.abs(np.asarray(jax.jit(mapped)(x)) - expected).max()
    gradient = jax.jit(jax.grad(lambda x: mapped(x).sum()))
    assert gradient(x).shape == x.shape
    shape = [4_096 if name == layout.over else n for n, name in zip(x.shape, layout.axes, strict=True)]
    larger = jax.ShapeDtypeStruct(shape, x.dtype)  # compiled, never allocated
    memory: Any = jax.jit(mapped).lower(larger).compile().memory_analysis()
    return {"error": float(error), "copies": memory.temp_size_in_bytes / (larger.size * x.dtype.itemsize)}


def photograph_tiles() -> np.ndarray:
    """Return tiles of scikit-learn's photograph of a flower, shape (61, 80, channel, example)."""
    from sklearn.datasets import load_sample_image

    photograph = load_sample_image("flower.jpg").astype(np.float32) / 255
    height, width = 61, 80
    rows, columns = photograph.shape[0] // height, photograph.shape[1] // width
    crop = photograph[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
    return np.ascontiguousarray(crop.transpose(1, 3, 4, 0, 2).reshape(height, width, 3, rows * columns))


def draw(tiles: np.ndarray, scores: np.ndarray) -> Figure:
    """Draw the darkest and the brightest tiles."""
    order = np.argsort(scores)
    figure = plots.new_figure(9.0, 3.6)
    figure.suptitle("One function of one image, mapped over the LAST axis, orders the tiles of a photograph")
    panels = figure.subplots(2, 6)
    for row, indices, word in ((0, order[:6], "dark"), (1, order[-6:], "bright")):
        for axes, index in zip(panels[row], indices, strict=True):
            axes.imshow(tiles[..., index])
            axes.set_title(f"{word}: {scores[index]:.3f}", fontsize=9)
            axes.axis("off")
    figure.supxlabel("tile, with the root mean square of its intensities (0 black, 1 white)", fontsize=9)
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
