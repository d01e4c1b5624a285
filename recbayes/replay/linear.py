"""The linear learner: Bayesian linear regression of the reward on the context, an arm or shared. See `regression`.

LinUCB is `ucb` over it and LinTS `thompson`; with `noise` given their textbook form, whose bonus is exploration x noise x sqrt(x' P x).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.replay import regression, scores
from recbayes.replay.delay import Late, must_keep
from recbayes.replay.faults import check
from recbayes.replay.learner import Bound, Learner, Prior
from recbayes.replay.regression import Decisions, Regression
from recbayes.replay.tallies import memory_faults, must_forget
from recbayes.replay.world import NOTHING, Feedback, Offer, World
from recbayes.types import Tensor, UserError

UNSEEN = 1e9
"""The mean of an arm that has not had its first pulls: above any reward."""


class Settings(NamedTuple):
    """Numbers that programs share."""

    precision: Tensor
    a0: Tensor
    b0: Tensor
    noise: Tensor
    kept: Tensor


class Lines(NamedTuple):
    """State: the regressions, the number of updates so far, [], and with a window the last updates' decisions."""

    regression: Regression
    updates: Tensor
    recent: Any = NOTHING


class Known(NamedTuple):
    """Of what is offered. mean: [R, B, A]; spread: [R, B, A], or [R, B, A, D] where arms share; freedom: [R, B, A] or [R, B]."""

    mean: Tensor
    spread: Tensor
    freedom: Tensor


def linear(
    *,
    shared: bool = False,
    precision: float = 0.25,
    a0: float = 6.0,
    b0: float = 6.0,
    noise: float | None = None,
    intercept: bool = True,
    initial_pulls: int = 0,
    discount: float = 1.0,
    window: int | None = None,
    forget_every: int = 100,
    dtype: Literal["float32", "float64"] = "float32",
) -> Learner:
    """Bayesian linear regression with exact updates.

    Args:
      shared: one regression over the arms' features (times 1 and the context, where there is one); else one an arm over the context.
      precision: of the weights' prior, over the noise's variance: the ridge.
      a0: shape of the noise variance's inverse-gamma prior, above 1.
      b0: its scale.
      noise: standard deviation of the reward about its mean, if it is known; None: learnt.
      intercept: the context has a 1 put to it.
      initial_pulls: an arm with fewer decisions looks better than any other that has had them. Not with `shared`.
      discount: what a decision counts after each further step, in (0, 1]; 1 never forgets.
      window: steps whose decisions count, in place of a discount; None: all. Memory grows with it.
      forget_every: steps between the times that forgetting is done, by discount ** forget_every at once, or by making the regressions anew
        from the window's decisions: up to so many steps more are then counted.
      dtype: of state and scores.

    Raises: UserError if a setting is out of range.
    Source: Li et al. 2010, arXiv:1003.0146 (LinUCB); Agrawal and Goyal 2013, arXiv:1209.3352 (LinTS); Riquelme et al. 2018 (learnt noise).

    >>> linear(noise=1.0).settings["precision"]
    0.25
    """
    given = dict(locals())
    _check(given)

    def bind(world: World) -> Bound:
        _fits(world, shared, intercept)
        must_forget("linear", window, world)
        forgets = discount < 1.0 or window is not None
        if forgets and forget_every > world.steps:
            raise UserError(
                f"linear: forget_every is {forget_every}, the {world.kind} world has {world.steps} steps, so nothing would ever be"
                " forgotten. Set a smaller forget_every."
            )
        must_keep("linear", world.delay, forgets)
        kept = discount**forget_every
        settings = Settings(*(np.asarray(value, dtype) for value in (precision, a0, b0, 1.0 if noise is None else noise, kept)))
        form = Form(shared, intercept, noise is not None, initial_pulls, forget_every if forgets else 0, window or 0)
        width, lanes = _width(world, form), _lanes(world)
        return _shared(form, settings, width, lanes) if shared else apart(form, settings, len(world.segments), width, lanes)

    return Learner("linear", given, None, bind, of_rates=False)


class Form(NamedTuple):
    """What shapes the program; forget_every: 0 where nothing is forgotten; window: 0 where there is none."""

    shared: bool
    intercept: bool
    noise_known: bool
    initial_pulls: int
    forget_every: int
    window: int = 0

    def start(self, settings: Settings, replicas: int, regressions: int, width: int, lanes: int = 1) -> Lines:
        """Before any feedback, of `lanes` decisions a step."""
        unseen = regression.unseen(replicas, regressions, width, settings.precision)
        return Lines(unseen, tf.constant(0), regression.no_decisions([self.window, replicas, lanes], width, settings.precision.dtype))

    def told(self, state: Lines, which: Tensor, x: Tensor, events: Any, settings: Settings) -> Lines:
        """The state after an update with decisions of these regressions [R, B] at x [R, B, D], something forgotten where it is time."""
        dtype, updates = settings.precision.dtype, state.updates + 1
        given = Decisions(which, x, tf.cast(events.reward, dtype), tf.cast(events.weight, dtype))
        new = regression.told(state.regression, *given, events.joins)
        if not self.forget_every:
            return Lines(new, updates, state.recent)
        due, recent = updates % self.forget_every == 0, state.recent
        if self.window:
            recent = regression.kept(recent, given, state.updates % self.window)
            return Lines(
                tf.cond(due, lambda: regression.anew(recent, settings.precision, new.events.shape[1]), lambda: new), updates, recent
            )
        return Lines(tf.cond(due, lambda: regression.forgotten(new, settings.kept, settings.precision), lambda: new), updates, recent)

    def scale(self, state: Regression, settings: Settings) -> Tensor:
        """Standard deviation of the noise, as far as it is known, [R, K]."""
        if self.noise_known:
            return settings.noise * tf.ones_like(state.events)
        return tf.sqrt((settings.b0 + state.errors) / (settings.a0 + 0.5 * state.events))

    def freedom(self, state: Regression, settings: Settings) -> Tensor:
        """Degrees of freedom, [R, K]."""
        return 2.0 * settings.a0 + state.events

    def contexts(self, context: Any, like: Tensor, settings: Settings) -> Tensor:
        """The contexts [R, B, C], a 1 put to them; where there are none the 1 alone, for decisions `like` [R, B]."""
        dtype = settings.precision.dtype
        if context is NOTHING:
            return tf.ones([*like.shape[:2], 1], dtype)
        context = tf.cast(context, dtype)
        return tf.concat([context, tf.ones_like(context[..., :1])], -1) if self.intercept else context

    def crossed(self, features: Tensor, context: Any, settings: Settings) -> Tensor:
        """Features of arms [R, B, ..., D] times 1 and their decision's context [R, B, C], and a 1."""
        x = tf.cast(features, settings.precision.dtype)
        if context is not NOTHING:
            around = tf.reshape(tf.cast(context, x.dtype), [*context.shape[:2], *[1] * (x.shape.rank - 3), 1, context.shape[-1]])
            around = tf.concat([tf.ones_like(around[..., :1]), around], -1)
            x = tf.reshape(x[..., None] * around, [*x.shape[:-1], x.shape[-1] * around.shape[-1]])
        return tf.concat([x, tf.ones_like(x[..., :1])], -1) if self.intercept else x


def apart(form: Form, settings: Settings, arms: int, width: int, lanes: int = 1) -> Bound:
    """A regression an arm; lanes: decisions that an update may tell."""

    def start(prior: Prior, replicas: int) -> Lines:
        return form.start(prior.settings, replicas, arms, width, lanes)

    def look(state: Lines, prior: Prior, offer: Offer) -> Known:
        lines, given = state.regression, prior.settings
        mean, square = regression.seen(lines, form.contexts(offer.context, offer.candidates, given))
        spread = tf.sqrt(square) * form.scale(lines, given)[:, None]
        if form.initial_pulls:
            new = (lines.events < form.initial_pulls)[:, None]
            mean, spread = tf.where(new, tf.cast(UNSEEN, mean.dtype), mean), tf.where(new, tf.zeros_like(spread), spread)
        return Known(mean, spread, tf.broadcast_to(form.freedom(lines, given)[:, None], mean.shape))

    def predictive(known: Known, prior: Prior, offer: Offer) -> scores.Apart:
        return scores.Apart(known.mean, known.spread, None if form.noise_known else known.freedom)

    def update(state: Lines, prior: Prior, feedback: Feedback) -> Lines:
        events = feedback.events
        x = form.contexts(events.context, events.weight, prior.settings)
        return form.told(state, events.arm, x, events, prior.settings)

    program = ("linear", form, arms, width, lanes, str(settings.precision.dtype))
    numbers = arms * width * (width + 1) + form.window * lanes * (width + 3)
    return Bound(None, start, update, predictive, together=True, program=program, look=look, settings=settings, numbers=numbers)


def _shared(form: Form, settings: Settings, width: int, lanes: int) -> Bound:
    """One regression over the arms' features."""

    def start(prior: Prior, replicas: int) -> Lines:
        return form.start(prior.settings, replicas, 1, width, lanes)

    def look(state: Lines, prior: Prior, offer: Offer) -> Known:
        lines, given = state.regression, prior.settings
        x = form.crossed(offer.features, offer.context, given)  # [R, B, A, D]
        flat = tf.reshape(x, [x.shape[0], -1, width])
        spread = tf.reshape(tf.matmul(flat, lines.root[:, 0], transpose_b=True), x.shape) * form.scale(lines, given)[..., None, None]
        mean = tf.reshape(tf.linalg.matvec(flat, lines.mean[:, 0]), x.shape[:-1])
        return Known(mean, spread, tf.broadcast_to(form.freedom(lines, given), mean.shape[:-1]))

    def predictive(known: Known, prior: Prior, offer: Offer) -> scores.Together:
        return scores.Together(known.mean, known.spread, None if form.noise_known else known.freedom, offer.candidates)

    def update(state: Lines, prior: Prior, feedback: Feedback) -> Lines:
        events = feedback.events
        x = form.crossed(events.features, events.context, prior.settings)
        return form.told(state, tf.zeros_like(events.arm), x, events, prior.settings)

    program = ("linear", form, width, lanes, str(settings.precision.dtype))
    numbers = width * (width + 1) + form.window * lanes * (width + 3)
    return Bound(None, start, update, predictive, together=True, program=program, look=look, settings=settings, numbers=numbers)


def _width(world: World, form: Form) -> int:
    """Numbers that a regression is over."""
    width = world.feature_width * (1 + world.context_width) if form.shared else world.context_width
    return width + form.intercept


def _lanes(world: World) -> int:
    """Decisions that an update may tell: a batch, or where delays have a law, all that may be on its way."""
    return int(world.decisions(1).sum()) * (len(world.delay.shares) if isinstance(world.delay, Late) else 1)


def _fits(world: World, shared: bool, intercept: bool) -> None:
    if not world.rules.own:
        raise UserError(
            f"linear: the {world.kind} world counts clicks in batches of one group, without decisions. Let counts or density learn."
        )
    if not (shared or intercept or world.context_width):
        raise UserError(f"linear: decisions of this {world.kind} world have no context; without an intercept nothing is left.")
    if shared and not world.feature_width:
        raise UserError(
            f"linear: the {world.kind} world has no features of arms, which shared needs. Leave shared out: a regression an arm."
        )


def _check(given: dict[str, Any]) -> None:
    def number(name: str, low: float, what: str) -> tuple[bool, str]:
        return not (math.isfinite(given[name]) and given[name] > low), f"{name} is {given[name]}, must be {what}"

    faults = [
        number("precision", 0.0, "above 0"),
        number("a0", 1.0, "above 1, so that the noise's variance has a mean"),
        number("b0", 0.0, "above 0"),
        (given["noise"] is not None and not given["noise"] > 0.0, f"noise is {given['noise']}, must be above 0, or null to learn it"),
        (given["initial_pulls"] < 0, f"initial_pulls is {given['initial_pulls']}, must be at least 0"),
        (given["shared"] and given["initial_pulls"] > 0, "initial_pulls is for a regression an arm, not for shared"),
        *memory_faults(given["discount"], given["window"]),
        (given["forget_every"] < 1, f"forget_every is {given['forget_every']}, must be at least 1"),
        (given["dtype"] not in ("float32", "float64"), f"dtype is {given['dtype']!r}, must be float32 or float64"),
    ]
    check("linear", faults)
