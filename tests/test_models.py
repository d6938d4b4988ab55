import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like

from dlcore import reference
from dlcore.models import LinearParams, linear, logistic


@pytest.mark.parametrize("model", [linear, logistic])
def test_models_equal_their_twins(model):
    params = LinearParams(random_like(0, 5), random_like(1))
    x = random_like(2, 7, 5)
    z = jax.vmap(model.apply, (None, 0))(params, x)
    assert_close(z, reference.models.linear(params.weight, params.bias, x), units=8)
    predicted = jax.vmap(model.predict, (None, 0))(params, x)
    twin = reference.models.logistic if model is logistic else reference.models.linear
    assert_close(predicted, twin(params.weight, params.bias, x), units=16)


@pytest.mark.parametrize("model", [linear, logistic])
def test_the_start_is_zero_and_compiles_nothing(model, compiles):
    params = model.init(None, 4)
    assert compiles() == 0
    assert params.weight.shape == (4,)
    assert params.bias.shape == ()
    assert params.weight.dtype == DTYPE
    assert not params.weight.any()
    with pytest.raises(ValueError, match="features: expected an integer of at least 1, got 0"):
        model.init(None, 0)


def test_one_example_at_a_time():
    params = linear.init(None, 3)
    with pytest.raises(ValueError, match=r"x \(5, 3\) and weight \(3,\); vmap"):
        linear.apply(params, jnp.ones((5, 3), DTYPE))
    with pytest.raises(ValueError, match=r"x \(4,\)"):
        logistic.apply(params, jnp.ones(4, DTYPE))


def test_probabilities_far_out():
    params = LinearParams(jnp.ones(1, DTYPE), jnp.zeros((), DTYPE))
    p = jax.vmap(logistic.predict, (None, 0))(params, jnp.array([[-1e4], [0.0], [1e4]], DTYPE))
    np.testing.assert_array_equal(p, [0, 0.5, 1])
