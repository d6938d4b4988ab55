"""Is the gradient of softmax regression, derived by hand, the one that JAX and Optax descend along?

The data are scikit-learn's 1797 handwritten digits of 8 × 8 pixels, stored as [height, width, example]. A model
of ONE image is mapped over the last axis. Gradient descent starts at 0 with the rate 1/L and runs three ways in
float64. The first uses the formula Xᵀ(P − Y)/n + l2·W in NumPy. The second uses `jax.grad` of the mean loss of
the images in their own layout. The third uses Optax in `dlcore.fit`. A fit to the optimum then classifies 500
held-out images.

Command: dlcore run softmax_digits

Takes: about 8 s on two idle cores

Expected: the three paths agree at every step to 1e-12 of the weights. The objective falls at every step, as the
rate 1/L guarantees. At least 95 % of the held-out images are classified correctly.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from dlcore import Objective, descent, fit, models
from dlcore.cli import console, experiment, plots
from dlcore.losses import softmax_cross_entropy
from dlcore.models import LinearParams
from dlcore.tensors import Layout, over_examples

IMAGES = Layout("height width example")
HELD_OUT = 500
L2 = 1e-3


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Descend three ways, compare the paths, fit the optimum, and classify the held-out images."""
    images, labels = load_images()
    train, test = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    steps, max_steps = (50, 400) if options.quick else (300, 3_000)
    x = rows_of(images[..., train])
    objective = Objective(models.softmax, softmax_cross_entropy, L2)
    with jax.enable_x64(True):
        rate = float(descent.lipschitz_step(objective, (x, labels[train])))
        paths = {
            "by hand": descend_by_hand(x, labels[train], rate, steps),
            "jax.grad": descend_with_jax(images[..., train], labels[train], rate, steps),
        }
        fitted = fit(
            objective, (x, labels[train]), optax.sgd(rate), max_steps=steps, tol=0, record=lambda params: params
        )
        paths["Optax"] = np.concatenate(
            [fitted.history.recorded.weight, fitted.history.recorded.bias[:, None]], axis=1
        )
        best = fit(objective, (x, labels[train]), descent.nesterov(rate), max_steps=max_steps, tol=1e-3)
        predict = over_examples(predict_image, IMAGES)
        p = np.asarray(jax.jit(predict)(images[..., test], best.params))
    size = np.abs(paths["by hand"]).max()
    errors = {
        name: float(np.abs(path - paths["by hand"]).max() / size)
        for name, path in paths.items()
        if name != "by hand"
    }
    for name, error in errors.items():
        run.expect(
            f"{name}: the weights of the formula by hand at each of {steps} steps, to {error:.0e} of the largest",
            error < 1e-12,
        )
    rise = float(np.diff(fitted.history.value).max())
    run.expect(f"at the rate 1/L = {rate:.4f} every step descends, by {-rise:.1e} at least", rise < 0)
    accuracy = float((p.argmax(1) == labels[test]).mean())
    run.expect(f"{accuracy:.1%} of {HELD_OUT} images held out are classified rightly", accuracy >= 0.95)
    run.save(draw_weights(np.asarray(best.params.weight)), "weights.png")
    run.save(draw_mistakes(images[..., test], labels[test], p, accuracy), "mistakes.png")
    console.print_table(
        f"Softmax regression on {x.shape[0]} digits, float64, gradient descent at 1/L = {rate:.4f}",
        ["way", f"largest difference in {steps} steps, relative"],
        [["by hand (NumPy)", ""], *([name, f"{error:.1e}"] for name, error in errors.items())],
    )
    return {
        "steps": steps,
        "rate": rate,
        "largest_difference": errors,
        "accuracy": accuracy,
        "fit": best.message,
        "value": float(best.value),
    }


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Return the images [height, width, example] in random order, with pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return np.moveaxis(digits.images[order] / 16, 0, -1), digits.target[order]


def rows_of(images: np.ndarray) -> np.ndarray:
    """Return the images as rows [example, pixel]."""
    return images.reshape(-1, images.shape[-1]).T


def predict_image(image: jax.Array, params: LinearParams) -> jax.Array:
    """Return the probabilities of the ten digits of ONE image [height, width]."""
    return models.softmax.predict(params, image.reshape(-1))


def descend_by_hand(x: np.ndarray, labels: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Return the path by the formula of the gradient in NumPy, biases last, shape (steps + 1, 65, 10)."""
    extended = np.column_stack([x, np.ones(len(x))])
    one_hot = np.eye(10)[labels]
    penalty = np.append(np.full(x.shape[1], L2), 0)[:, None]
    w = np.zeros((x.shape[1] + 1, 10))
    path = [w]
    for _ in range(steps):
        powers = np.exp(extended @ w)
        p = powers / powers.sum(1, keepdims=True)
        w = w - rate * (extended.T @ (p - one_hot) / len(x) + penalty * w)
        path.append(w)
    return np.array(path)


def descend_with_jax(images: np.ndarray, labels: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Return the same path by JAX, from the mean loss of the images in their own layout."""
    x, y = jnp.asarray(images), jnp.asarray(labels)

    def value(params: LinearParams) -> jax.Array:
        logits = over_examples(lambda image: models.softmax.apply(params, image.reshape(-1)), IMAGES)(x)
        losses = jax.vmap(softmax_cross_entropy)(logits, y)
        return losses.mean() + L2 / 2 * jnp.square(params.weight).sum()

    def step(params: LinearParams, _: None) -> tuple[LinearParams, LinearParams]:
        params = jax.tree.map(lambda leaf, gradient: leaf - rate * gradient, params, jax.grad(value)(params))
        return params, params

    start = models.softmax.init(None, images.shape[0] * images.shape[1], 10)
    _, path = jax.jit(lambda start: jax.lax.scan(step, start, length=steps))(start)
    path = jax.tree.map(lambda first, rest: np.concatenate([np.asarray(first)[None], rest]), start, path)
    return np.concatenate([path.weight, path.bias[:, None]], axis=1)


def draw_weights(weight: np.ndarray) -> Figure:
    """Draw the weights of each class as images."""
    figure = plots.new_figure(9.5, 4.4)
    figure.suptitle("What speaks for a digit (orange) and against it (purple): the weights of each class")
    panels = figure.subplots(2, 5)
    largest = np.abs(weight).max()
    shown: Any = None
    for digit, axes in enumerate(panels.flat):
        shown = axes.imshow(-weight[:, digit].reshape(8, 8), cmap="PuOr", vmin=-largest, vmax=largest)
        axes.set(title=f"digit {digit}", xticks=[], yticks=[])
    bar: Any = figure.colorbar(shown, ax=panels, label="weight  (nats per unit of a pixel)")
    bar.ax.invert_yaxis()
    ticks = [tick for tick in bar.get_ticks() if abs(tick) <= largest]
    bar.set_ticks(ticks, labels=[f"{0 - tick:g}".replace("-", "−") for tick in ticks])
    return figure


def draw_mistakes(images: np.ndarray, labels: np.ndarray, p: np.ndarray, accuracy: float) -> Figure:
    """Draw the misclassified held-out images, the most confident mistakes first."""
    wrong = np.flatnonzero(p.argmax(1) != labels)
    wrong = wrong[np.argsort(-p[wrong].max(1))]
    shown = wrong[:10]
    figure = plots.new_figure(9.5, 4.8)
    figure.suptitle(
        f"{accuracy:.1%} right of {len(labels)} images held out; the surest {len(shown)} of {len(wrong)} mistakes"
    )
    for axes, index in zip(figure.subplots(2, 5).flat, shown, strict=False):
        axes.imshow(images[..., index], cmap="gray_r", vmin=0, vmax=1)
        guess = p[index].argmax()
        axes.set_title(
            f"a {labels[index]}, taken for a {guess}\nwith probability {p[index, guess]:.2f}", fontsize=9
        )
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
