"""Is a backward pass written by hand the gradient of a two-layer network, at every step of its training?

Handwritten digits, scikit-learn's 1797 images of 8 × 8 pixels, kept as [height, width, example]; a network of one
hidden layer, 64 → 32 → 10, tanh, cross-entropy of a softmax. Trained by Adam three times from one random start,
side by side in float64: the backward pass by hand with Adam by its formulas (NumPy), `jax.grad` of the images as
they lie with dlcore's Adam, and Optax's Adam through `dlcore.fit`. Then 500 images held out.

Command: dlcore run mlp_digits

Takes: about 12 s on two idle cores

Expected: at every step the backward pass by hand is `jax.grad` to 1e-11 of the largest entry, and the three paths
agree to 1e-12 of the largest parameter; at least 97 % of the images held out are classified rightly.
"""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from dlcore import Objective, descent, fit, models, reference
from dlcore.cli import console, experiment, plots
from dlcore.losses import softmax_cross_entropy
from dlcore.models import Model
from dlcore.tensors import Layout, over_examples

IMAGES = Layout("height width example")
HELD_OUT = 500
L2 = 1e-4
RATE = 0.02
HIDDEN = 32
NETWORK = models.mlp((64, HIDDEN, 10))


def apply_to_image(params: Any, image: jax.Array) -> jax.Array:
    """The logits of ONE image [height, width]."""
    return NETWORK.apply(params, image.reshape(-1))


def predict_image(params: Any, image: jax.Array) -> jax.Array:
    """The probabilities of the ten digits of ONE image."""
    return NETWORK.predict(params, image.reshape(-1))


OF_IMAGES = Model(NETWORK.init, apply_to_image, predict_image)


def flat(params: Any) -> jax.Array:
    """All parameters as one vector."""
    return jax.flatten_util.ravel_pytree(params)[0]


def main(options: experiment.Options, run: experiment.Run) -> dict[str, Any]:
    """Three trainings side by side; then the images held out, and what softmax regression makes of them."""
    images, labels = load_images()
    seen, unseen = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    steps = 60 if options.quick else 400
    with jax.enable_x64(True):
        start = NETWORK.init(jax.random.key(0))
        data = IMAGES.rearrange(images[..., seen], "example height width"), labels[seen]
        objective = Objective(OF_IMAGES, softmax_cross_entropy, L2)
        fitted = fit(objective, data, optax.adam(RATE), params=start, max_steps=steps, tol=0, record=flat)
        mine, mine_slopes = by_hand(images[..., seen], labels[seen], start, steps)
        theirs, their_slopes = by_jax(images[..., seen], labels[seen], start, steps)
        paths = {"jax.grad": theirs, "Optax": fitted.history.recorded}
        predict = over_examples(lambda image: predict_image(fitted.params, image), IMAGES)
        p = np.asarray(jax.jit(predict)(images[..., unseen]))
    apart = float(relative(their_slopes, mine_slopes).max())
    run.expect(f"the backward pass by hand is jax.grad at each of {steps} steps, to {apart:.0e}", apart < 1e-11)
    errors = {name: relative(path, mine) for name, path in paths.items()}
    for name, error in errors.items():
        run.expect(
            f"{name}: the parameters by hand at each of {steps} steps, to {error.max():.0e} of the largest",
            error.max() < 1e-12,
        )
    accuracy = float((p.argmax(1) == labels[unseen]).mean())
    run.expect(
        f"{accuracy:.1%} of {HELD_OUT} images held out are classified rightly",
        accuracy >= 0.97,
    )
    run.save(draw(fitted.history.value, errors, images[..., unseen], labels[unseen], p, accuracy), "mlp.png")
    console.print_table(
        f"A network 64 → 32 → 10 on {len(labels) - HELD_OUT} digits, float64, {steps} steps of Adam",
        ["way", "largest difference in the parameters, relative"],
        [["by hand (NumPy)", ""], *([name, f"{error.max():.1e}"] for name, error in errors.items())],
    )
    return {
        "steps": steps,
        "gradients_differ_by": apart,
        "paths_differ_by": {name: float(error.max()) for name, error in errors.items()},
        "value": float(fitted.value),
        "accuracy": accuracy,
    }


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """The images [height, width, example] with pixels in [0, 1], in a random order, and their labels."""
    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return np.moveaxis(digits.images[order] / 16, 0, -1), digits.target[order]


def backward(vector: np.ndarray, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """∂E/∂(W₁, b₁, W₂, b₂) by hand: forward through the two layers, then back through them."""
    w1, b1, w2, b2 = np.split(vector, np.cumsum([64 * HIDDEN, HIDDEN, HIDDEN * 10]))
    w1, w2 = w1.reshape(64, HIDDEN), w2.reshape(HIDDEN, 10)

    hidden = np.tanh(x @ w1 + b1)
    logits = hidden @ w2 + b2
    powers = np.exp(logits - logits.max(1, keepdims=True))
    p = powers / powers.sum(1, keepdims=True)

    logits_slope = (p - np.eye(10)[labels]) / len(x)  # ∂E/∂Z = (P − Y)/n
    w2_slope = hidden.T @ logits_slope + L2 * w2
    hidden_slope = logits_slope @ w2.T * (1 - hidden * hidden)  # tanh' = 1 − tanh²
    w1_slope = x.T @ hidden_slope + L2 * w1
    return np.concatenate([w1_slope.ravel(), hidden_slope.sum(0), w2_slope.ravel(), logits_slope.sum(0)])


def by_hand(images: np.ndarray, labels: np.ndarray, start: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The path (steps + 1, parameters) of Adam over the backward pass by hand, in NumPy; and that gradient."""
    x = images.reshape(64, -1).T
    rule = reference.descent.adam(RATE)
    position = np.asarray(flat(start))
    memory, path, gradients = rule.init(position), [position], []
    for _ in range(steps):
        gradients.append(backward(position, x, labels))
        change, memory = rule.update(gradients[-1], memory)
        position = position + change
        path.append(position)
    return np.array(path), np.array(gradients)


def by_jax(images: np.ndarray, labels: np.ndarray, start: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The same path with the derivative by JAX of the mean loss of the images as they lie; and that derivative."""
    images_there, labels_there = jnp.asarray(images), jnp.asarray(labels)
    rule = descent.adam(RATE)

    def value(params: Any) -> jax.Array:
        logits = over_examples(lambda image: apply_to_image(params, image), IMAGES)(images_there)
        penalty = sum(jnp.square(layer.weight).sum() for layer in params)
        return jax.vmap(softmax_cross_entropy)(logits, labels_there).mean() + L2 / 2 * penalty

    def step(state: Any, _: None) -> Any:
        params, memory = state
        gradient = jax.grad(value)(params)
        updates, memory = rule.update(gradient, memory, params)
        after = optax.apply_updates(params, updates)
        return (after, memory), (flat(after), flat(gradient))

    run = jax.jit(lambda start: jax.lax.scan(step, (start, rule.init(start)), length=steps))
    _, (path, gradients) = run(start)
    return np.concatenate([np.asarray(flat(start))[None], path]), np.asarray(gradients)


def relative(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference at each step, relative to the largest entry of that step."""
    return np.abs(one - other).max(1) / np.abs(other).max(1)


def draw(
    values: np.ndarray,
    errors: dict[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    p: np.ndarray,
    accuracy: float,
) -> Any:
    """The objective and the differences at every step; the mistakes on the images held out."""
    figure = plots.new_figure(11.0, 4.8)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    curves, gallery = halves
    above, below = curves.subplots(2, 1, sharex=True)
    above.plot(values, color=plots.COLORS[0])
    above.set(yscale="log", ylabel="objective  (nats)", title="One training, written three ways")
    for (name, error), color, (style, width) in zip(errors.items(), plots.COLORS, plots.LINES, strict=False):
        below.plot(np.maximum(error, 1e-17), color=color, linestyle=style, linewidth=width, label=name)
    below.set(yscale="log", xlabel="step", ylabel="difference from by hand\n(of the largest parameter)")
    below.legend()
    for axes in (above, below):
        axes.grid(alpha=0.3)
    wrong = np.flatnonzero(p.argmax(1) != labels)
    wrong = wrong[np.argsort(-p[wrong].max(1))][:9]
    gallery.suptitle(f"{accuracy:.1%} right of {len(labels)} held out; mistakes, the surest first")
    for axes, index in zip(gallery.subplots(3, 3).flat, wrong, strict=False):
        axes.imshow(images[..., index], cmap="gray_r", vmin=0, vmax=1)
        guess = p[index].argmax()
        axes.set_title(f"a {labels[index]}, taken for a {guess}: {p[index, guess]:.2f}", fontsize=9)
    for axes in gallery.axes:
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    experiment.run(main, experiment.Options, __doc__)
