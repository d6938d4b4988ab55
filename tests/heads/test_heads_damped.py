"""What becomes of a trial of Newton's: taken, or taken back and made shorter; and when a head has ended."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.heads.damped import ARMIJO, IDLE_AT_MOST, State, begin, move

pytestmark = pytest.mark.any_mode


class Place(NamedTuple):
    """All that `move` asks of what a pass told."""

    value: Any
    gradient: Any


class Told(NamedTuple):
    """A state of one head with one parameter, as plain numbers."""

    theta: float
    trial: float
    value: float
    rate: float
    idle: int
    laps: int
    active: bool
    flat: bool


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def told(state):
    return Told(
        *(np.ravel(part).item() for part in (state.theta, state.trial, state.place.value, state.rate)),
        *(np.ravel(part).item() for part in (state.idle, state.laps, state.active, state.flat)),
    )


def state_of(rate=1.0, idle=0, laps=1, least=1.0, active=True, slope=8.0):
    """θ = 3, J = 1, and a step 2 that promises a decrease of rate · slope."""
    numbers = {"theta": [[3.0]], "trial": [[3.0 - 2 * rate]], "step": [[2.0]], "rate": [rate], "least": [least]}
    marks = {"active": jnp.array([active]), "flat": jnp.array([False])}
    counts = {"idle": jnp.array([idle], jnp.int32), "laps": jnp.array([laps], jnp.int32)}
    place = Place(jnp.ones(1), jnp.array([[slope / 2]]))
    return State(place=place, **{name: jnp.array(value) for name, value in numbers.items()}, **counts, **marks)


def moved(state, value, *, noise=0.0, size=0.5, flat=False, most=100, step=6.0):
    """The state after a pass that told J = `value` at the trial, with the next step and the judgement of it."""
    seen, limit = Place(jnp.array([value]), jnp.array([[1.0]])), jnp.array([most], jnp.int32)
    judgement = jnp.array([size]), jnp.array([flat])
    return move(state, seen, jnp.array([[step]]), lambda _: jnp.array([noise]), lambda *_: judgement, limit)


def test_the_first_trial_is_where_a_head_starts_and_is_taken_whatever_it_tells():
    nowhere = Place(jnp.zeros(1), jnp.zeros((1, 1)))
    state = begin(jnp.array([[3.0]]), nowhere, jnp.array([True]))
    assert told(state) == Told(3, 3, 0, 1, idle=0, laps=0, active=True, flat=False)
    after = moved(state, 7.0)
    assert told(after) == Told(3, 3 - 6, 7, 1, idle=0, laps=1, active=True, flat=False)
    assert after.least == 0.5


def test_a_trial_that_is_worse_is_taken_back_and_a_quarter_of_its_step_is_tried():
    after = moved(state_of(idle=2), 1.5)
    assert told(after) == Told(3, 3 - 2 / 4, 1, 1 / 4, idle=3, laps=2, active=True, flat=False)
    assert after.step == 2


@pytest.mark.parametrize(("rate", "then"), [(1.0, 1.0), (0.25, 1.0), (0.0625, 0.25)])
def test_a_trial_that_is_better_is_taken_and_the_next_is_four_times_as_long_up_to_the_whole_step(rate, then):
    there = 3 - 2 * rate
    after = moved(state_of(rate=rate, idle=2), 0.25)
    assert told(after) == Told(there, there - 6 * then, 0.25, then, idle=0, laps=2, active=True, flat=False)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_a_decrease_below_its_share_of_the_promise_is_none_unless_rounding_may_hide_it(rate):
    promise = ARMIJO * 8 * rate
    for off, noise, taken in ((1e-9, 0.0, False), (-1e-9, 0.0, True), (1e-9, 1e-8, True), (1e-7, 1e-8, False)):
        after = moved(state_of(rate=rate), 1 - promise + off, noise=noise)
        assert (told(after).theta != 3) == taken, (off, noise)


@pytest.mark.parametrize(
    ("slope", "least", "size", "progress"),
    [
        (1e-10, 1.0, 0.95, False),  # taken, but the gap is about the same and the step promised nothing
        (1e-10, 1.0, 0.85, True),
        (1e-8, 1.0, 0.95, True),
        (1e-10, 0.1, 0.85, False),  # the least so far counts, not the last
    ],
)
def test_progress_is_a_smaller_gap_or_a_step_that_promised_more_than_rounding(slope, least, size, progress):
    after = moved(state_of(slope=slope, least=least, idle=2), 1 - slope / 2, size=size)
    assert told(after).idle == (0 if progress else 3)
    assert after.least == min(least, size)


def test_a_head_ends_after_so_many_passes_in_a_row_without_progress():
    state = state_of()
    for passes in range(1, IDLE_AT_MOST + 1):
        state = moved(state, 2.0)
        assert (told(state).idle, told(state).active) == (passes, passes < IDLE_AT_MOST)
    assert (told(state).rate, told(state).flat) == (0.25**IDLE_AT_MOST, False)


@pytest.mark.parametrize(
    ("how", "active", "flat"),
    [
        ({"flat": True}, False, True),
        ({"most": 2}, False, False),
        ({"most": 3}, True, False),
        ({"step": np.nan}, False, False),
        ({"step": np.inf}, False, False),
    ],
)
def test_a_head_ends_where_its_gap_is_small_its_passes_are_spent_or_no_step_is_left(how, active, flat):
    after = told(moved(state_of(), 0.25, **how))
    assert (after.active, after.flat) == (active, flat)


def test_a_head_that_has_ended_stays_as_it_is():
    after = told(moved(state_of(active=False, laps=4), 0.25, flat=True))
    assert (after.theta, after.value, after.laps, after.active, after.flat) == (3, 1, 4, False, False)
