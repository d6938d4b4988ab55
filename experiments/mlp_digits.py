"""Is a backward pass written by hand the gradient of a two-layer network, at every step of its training?

The data are scikit-learn's 1797 handwritten digits of 8 × 8 pixels, stored as [height, width, example]. The
network has one hidden layer, 64 → 32 → 10, with tanh and a softmax cross-entropy. Adam trains it three times from
one random start, in float64. The first uses a backward pass and Adam written by hand in NumPy. The second uses
`jax.grad` of the images in their own layout and dlcore's Adam. The third uses Optax's Adam in `dlcore.fit`. The
last model classifies 500 held-out images.

Command: dlcore run mlp_digits

Takes: about 12 s on two idle cores

Expected: at every step the backward pass by hand equals `jax.grad` to 1e-11 of the largest entry. The three paths
agree to 1e-12 of the largest parameter. At least 97 % of the held-out images are classified correctly.
"""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

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
    """Return the logits of ONE image [height, width]."""
    return NETWORK.apply(params, image.reshape(-1))


def predict_image(params: Any, image: jax.Array) -> jax.Array:
    """Return the probabilities of the ten digits of ONE image."""
    return NETWORK.predict(params, image.reshape(-1))


IMAGE_MODEL = Model(NETWORK.init, apply_to_image, predict_image)


def flat(params: Any) -> jax.Array:
    """Return all parameters as one vector."""
    return jax.flatten_util.ravel_pytree(params)[0]


def main(options: experiment.Options, run: experiment.Run) -> experiment.Result:
    """Train three ways, compare the paths, and classify the held-out images."""
    images, labels = load_images()
    train, test = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    steps = 60 if options.quick else 400
    with jax.enable_x64(True):
        start = NETWORK.init(jax.random.key(0))
        data = IMAGES.rearrange(images[..., train], "example height width"), labels[train]
        objective = Objective(IMAGE_MODEL, softmax_cross_entropy, L2)
        fitted = fit(objective, data, optax.adam(RATE), params=start, max_steps=steps, tol=0, record=flat)
        hand_path, hand_gradients = train_by_hand(images[..., train], labels[train], start, steps)
        jax_path, jax_gradients = train_with_jax(images[..., train], labels[train], start, steps)
        paths = {"jax.grad": jax_path, "Optax": fitted.history.recorded}
        predict = over_examples(lambda image: predict_image(fitted.params, image), IMAGES)
        p = np.asarray(jax.jit(predict)(images[..., test]))
    difference = float(relative_difference(jax_gradients, hand_gradients).max())
    run.expect(
        f"the backward pass by hand is jax.grad at each of {steps} steps, to {difference:.0e}", difference < 1e-11
    )
    errors = {name: relative_difference(path, hand_path) for name, path in paths.items()}
    for name, error in errors.items():
        run.expect(
            f"{name}: the parameters by hand at each of {steps} steps, to {error.max():.0e} of the largest",
            error.max() < 1e-12,
        )
    accuracy = float((p.argmax(1) == labels[test]).mean())
    run.expect(
        f"{accuracy:.1%} of {HELD_OUT} images held out are classified rightly",
        accuracy >= 0.97,
    )
    run.save(draw(fitted.history.value, errors, images[..., test], labels[test], p, accuracy), "mlp.png")
    console.print_table(
        f"A network 64 → 32 → 10 on {len(labels) - HELD_OUT} digits, float64, {steps} steps of Adam",
        ["way", "largest difference in the parameters, relative"],
        [["by hand (NumPy)", ""], *([name, f"{error.max():.1e}"] for name, error in errors.items())],
    )
    return {
        "steps": steps,
        "gradients_differ_by": difference,
        "paths_differ_by": {name: float(error.max()) for name, error in errors.items()},
        "value": float(fitted.value),
        "accuracy": accuracy,
    }


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Return the images [height, width, example] in random order, with pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return np.moveaxis(digits.images[order] / 16, 0, -1), digits.target[order]


def backward(vector: np.ndarray, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return ∂E/∂(W₁, b₁, W₂, b₂) by a forward and a backward pass through the two layers."""
    w1, b1, w2, b2 = np.split(vector, np.cumsum([64 * HIDDEN, HIDDEN, HIDDEN * 10]))
    w1, w2 = w1.reshape(64, HIDDEN), w2.reshape(HIDDEN, 10)

    hidden = np.tanh(x @ w1 + b1)
    logits = hidden @ w2 + b2
    powers = np.exp(logits - logits.max(1, keepdims=True))
    p = powers / powers.sum(1, keepdims=True)

    grad_logits = (p - np.eye(10)[labels]) / len(x)  # ∂E/∂Z = (P − Y)/n
    grad_w2 = hidden.T @ grad_logits + L2 * w2
    grad_hidden = grad_logits @ w2.T * (1 - hidden * hidden)  # tanh' = 1 − tanh²
    grad_w1 = x.T @ grad_hidden + L2 * w1
    return np.concatenate([grad_w1.ravel(), grad_hidden.sum(0), grad_w2.ravel(), grad_logits.sum(0)])


def train_by_hand(images: np.ndarray, labels: np.ndarray, start: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the path of Adam, shape (steps + 1, parameters), and its gradients, by hand in NumPy."""
    x = images.reshape(64, -1).T
    rule = reference.descent.adam(RATE)
    params = np.asarray(flat(start))
    state, path, gradients = rule.init(params), [params], []
    for _ in range(steps):
        gradients.append(backward(params, x, labels))
        update, state = rule.update(gradients[-1], state)
        params = params + update
        path.append(params)
    return np.array(path), np.array(gradients)


def train_with_jax(
    images: np.ndarray, labels: np.ndarray, start: Any, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same path and gradients by JAX, from the mean loss of the images in their own layout."""
    x, y = jnp.asarray(images), jnp.asarray(labels)
    rule = descent.adam(RATE)

    def value(params: Any) -> jax.Array:
        logits = over_examples(lambda image: apply_to_image(params, image), IMAGES)(x)
        penalty = sum(jnp.square(layer.weight).sum() for layer in params)
        return jax.vmap(softmax_cross_entropy)(logits, y).mean() + L2 / 2 * penalty

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        gradient = jax.grad(value)(params)
        updates, state = rule.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (flat(params), flat(gradient))

    run = jax.jit(lambda start: jax.lax.scan(step, (start, rule.init(start)), length=steps))
    _, (path, gradients) = run(start)
    return np.concatenate([np.asarray(flat(start))[None], path]), np.asarray(gradients)


def relative_difference(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the largest difference at each step, relative to the largest entry of that step."""
    return np.abs(actual - expected).max(1) / np.abs(expected).max(1)


def draw(
    values: np.ndarray,
    errors: dict[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    p: np.ndarray,
    accuracy: float,
) -> Figure:
    """Draw the objective and the differences at every step, and the mistakes on held-out images."""
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
