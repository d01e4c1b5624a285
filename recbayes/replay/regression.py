"""Exact Bayesian linear regression, one decision at a time: K regressions in each of R replicas.

    r = x . w + e,  e ~ N(0, s^2),  w | s^2 ~ N(0, s^2 / precision I),  s^2 ~ inverse gamma(a0, b0)

    P = (precision I + sum x x')^-1,  mean = P sum x r,  a = a0 + n / 2,  b = b0 + (sum r^2 - mean' P^-1 mean) / 2

Kept is a square root of P, P = T'T, updated by Potter's formula: with v = T x, q = v . v, P x = T'v and e = r - x . mean,

    mean += P x e / (1 + q),   T -= v (P x)' / (1 + q + sqrt(1 + q)),   b += e^2 / (2 (1 + q))

A root cannot lose its sign, and float32 keeps it over 1e5 updates where the inverse itself drifts (tests); x' P x = |T x|^2 costs one
product, and T'z of a normal z is a joint draw. Many decisions are taken together: with S = sum x x', c = sum x e over those of a regression
and L the Cholesky factor of I + T S T',

    T -> L^-1 T,   mean += T' L^-1' h,   h = L^-1 T c,   b += (|L^-1' h|^2 + sum (r - x . new mean)^2) / 2

which is the same posterior, by sums that lose nothing.

Source: Riquelme, Tucker and Snoek 2018, arXiv:1802.09127 (the model); Bierman 1977, Factorization methods for discrete sequential
estimation (the root).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from recbayes.replay.world import NOTHING, in_a_row
from recbayes.types import Tensor

BLOCK = 64
"""Decisions that are looked at together, where they are many."""
ROWS = 32
"""Decisions of one regression whose x x' are summed in one product."""
STRIP, WIDEST = 8, 64
"""Up to this width a Cholesky factor is written out in strips of so many columns, five times as fast as XLA's own on a CPU."""
MANY = 8
"""Decisions a regression, on average, from which it pays to take them together."""


class Regression(NamedTuple):
    """Beliefs. root: T, [R, K, D, D]; mean: [R, K, D]; events: n, [R, K]; errors: b - b0, [R, K]."""

    root: Tensor
    mean: Tensor
    events: Tensor
    errors: Tensor


class Decisions(NamedTuple):
    """Decisions as regressions are told them. which: int32 [..., B]; x: [..., B, D]; reward, weight: [..., B]."""

    which: Tensor
    x: Tensor
    reward: Tensor
    weight: Tensor


def unseen(replicas: int, regressions: int, width: int, precision: Tensor) -> Regression:
    """Before any feedback; `precision`, [], gives the dtype."""
    shape, dtype = [replicas, regressions], precision.dtype
    root = tf.eye(width, batch_shape=shape, dtype=dtype) * tf.math.rsqrt(precision)
    return Regression(root, tf.zeros([*shape, width], dtype), tf.zeros(shape, dtype), tf.zeros(shape, dtype))


def seen(state: Regression, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of every regression at x [R, B, D]: x . mean and x' P x, each [R, B, K]."""
    replicas, regressions, width = state.mean.shape
    if x.shape[1] == 1:  # one decision is a product of a matrix and a vector, which compiles to something faster
        v = tf.linalg.matvec(tf.reshape(state.root, [replicas, regressions * width, width]), x[:, 0])
        v = tf.reshape(v, [replicas, 1, regressions, width])
        return tf.linalg.matvec(state.mean, x[:, 0])[:, None], tf.reduce_sum(v * v, -1)
    flat = tf.reshape(tf.transpose(state.root, [0, 3, 2, 1]), [replicas, width, width * regressions])
    squares = _in_blocks(lambda part: _squares(flat, part, regressions), x)
    return tf.matmul(x, state.mean, transpose_b=True), squares


def _squares(flat: Tensor, x: Tensor, regressions: int) -> Tensor:
    """X' P x, [R, B, K], of roots laid side by side, [R, D, D K]: regressions innermost, so that the sum runs along them."""
    v = tf.reshape(tf.matmul(x, flat), [*x.shape[:2], -1, regressions])
    return tf.reduce_sum(v * v, 2)


def _in_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The function of BLOCK decisions at a time: what lies between then stays in a processor's cache, twice as fast on a CPU."""
    decisions = x.shape[1]
    if decisions <= BLOCK:
        return function(x)
    number = -(-decisions // BLOCK)
    padded = tf.pad(x, [[0, 0], [0, number * BLOCK - decisions], [0, 0]])
    parts = tf.transpose(tf.reshape(padded, [x.shape[0], number, BLOCK, x.shape[2]]), [1, 0, 2, 3])
    done = tf.transpose(tf.map_fn(function, parts), [1, 0, 2, 3])  # [R, blocks, BLOCK, K]
    return tf.reshape(done, [x.shape[0], number * BLOCK, -1])[:, :decisions]


def told(state: Regression, which: Tensor, x: Tensor, reward: Tensor, weight: Tensor, joins: Any = NOTHING) -> Regression:
    """B decisions one after another, or where they are many together, which comes to the same.

    Args:
      state: before them.
      which: the regression of each, int32 [R, B].
      x: [R, B, D].
      reward: [R, B].
      weight: as how many decisions each counts, [R, B]; 0 changes nothing.
      joins: whether the decision was told before with reward 0, and its reward comes now, bool [R, B]; nothing where none was.
    """
    given = [values for values in (which, x, reward, weight, joins) if values is not NOTHING]
    if x.shape[1] == 1:
        return _one(state, *(values[:, 0] for values in given))
    if x.shape[1] >= MANY * state.mean.shape[1] and x.shape[2] <= WIDEST:
        return _together(state, *given)
    columns = [tf.transpose(values, [1, 0, *range(2, len(values.shape))]) for values in given]

    def step(b: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return b + 1, *_one(Regression(*state), *(values[b] for values in columns))

    return Regression(*tf.while_loop(lambda b, *_: b < x.shape[1], step, (tf.constant(0), *state))[1:])


def no_decisions(shape: list[int], width: int, dtype: tf.DType) -> Any:
    """Room for the decisions of so many steps, [W, R, B]; nothing where it is for none."""
    if not shape[0]:
        return NOTHING
    zeros = tf.zeros(shape, dtype)
    return Decisions(tf.zeros(shape, tf.int32), tf.zeros([*shape, width], dtype), zeros, zeros)


def kept(recent: Decisions, new: Decisions, place: Tensor) -> Decisions:
    """Decisions of a step in the place of older ones."""
    return Decisions(*(tf.tensor_scatter_nd_update(old, place[None, None], one[None]) for old, one in zip(recent, new, strict=True)))


def anew(recent: Decisions, precision: Tensor, regressions: int) -> Regression:
    """The regressions from these decisions alone, [W, R, B] each."""
    return whole(Decisions(*map(in_a_row, recent)), precision, regressions)


def whole(given: Decisions, precision: Tensor, regressions: int) -> Regression:
    """The regressions [R, K] from all decisions at once, [R, T] each."""
    x, reward = given.x, given.reward[:, None]
    chosen = tf.one_hot(given.which, regressions, dtype=x.dtype) * given.weight[..., None]
    chosen = tf.transpose(chosen, [0, 2, 1])  # [R, K, T]
    inner = tf.stack([tf.matmul(x * chosen[:, arm, :, None], x, transpose_a=True) for arm in range(regressions)], 1)
    inner += precision * tf.eye(x.shape[-1], dtype=x.dtype)
    root = solved(inner, tf.eye(x.shape[-1], batch_shape=inner.shape[:2], dtype=x.dtype))
    half = tf.linalg.matvec(root, tf.matmul(chosen * reward, x))  # [R, K, D]
    mean = tf.linalg.matvec(root, half, transpose_a=True)
    errors = 0.5 * (tf.reduce_sum(chosen * tf.square(reward), -1) - tf.reduce_sum(tf.square(half), -1))
    return Regression(root, mean, tf.reduce_sum(chosen, -1), tf.maximum(errors, 0.0))


def forgotten(state: Regression, share: Tensor, precision: Tensor) -> Regression:
    """What was learnt counts `share` of what it did; the prior keeps its weight.

    P^-1 -> share P^-1 + (1 - share) precision I, and sum x r, n, sum r^2 -> share of each.
    """
    width = state.mean.shape[-1]
    lost = (1.0 - share) * precision
    inner = share * tf.eye(width, dtype=share.dtype) + lost * tf.matmul(state.root, state.root, transpose_b=True)
    root = solved(inner, state.root)
    mean = state.mean - lost * tf.linalg.matvec(root, tf.linalg.matvec(root, state.mean), transpose_a=True)
    errors = share * state.errors + 0.5 * lost * tf.reduce_sum(state.mean * mean, -1)
    return Regression(root, mean, share * state.events, errors)


def solved(inner: Tensor, right: Tensor) -> Tensor:
    """L^-1 right with L the Cholesky factor of `inner`: [R, K, D, D], [R, K, D, E] -> [R, K, D, E].

    >>> solved(tf.constant([[[[4.0, 0.0], [2.0, 5.0]]]]), tf.constant([[[[2.0], [5.0]]]])).numpy()[0, 0, :, 0].tolist()
    [1.0, 2.0]
    """
    if inner.shape[-1] > WIDEST:
        return tf.matmul(_inverse_factor(inner), right)
    left, rest, rows = inner, right, []
    while True:
        inverse = _inverse_factor(left[..., :STRIP, :STRIP])
        rows.append(tf.matmul(inverse, rest[..., :STRIP, :]))
        if left.shape[-1] <= STRIP:
            return tf.concat(rows, -2)
        below = tf.matmul(left[..., STRIP:, :STRIP], inverse, transpose_b=True)
        left = left[..., STRIP:, STRIP:] - tf.matmul(below, below, transpose_b=True)
        rest = rest[..., STRIP:, :] - tf.matmul(below, rows[-1])


def _inverse_factor(inner: Tensor) -> Tensor:
    """Inverse of the Cholesky factor, by XLA's own."""
    eye = tf.eye(inner.shape[-1], batch_shape=inner.shape[:-2], dtype=inner.dtype)
    return tf.linalg.triangular_solve(tf.linalg.cholesky(inner), eye)


def _together(state: Regression, which: Tensor, x: Tensor, reward: Tensor, weight: Tensor, joins: Tensor | None = None) -> Regression:
    """All decisions [R, B] at once; the arguments are those of `told`."""
    regressions, width = state.mean.shape[1:]
    chosen = tf.one_hot(which, regressions, dtype=x.dtype)  # [R, B, K]
    new = weight if joins is None else tf.where(joins, tf.zeros_like(weight), weight)
    guess = tf.reduce_sum(tf.matmul(x, state.mean, transpose_b=True) * chosen, -1)
    error = reward - guess if joins is None else tf.where(joins, reward, reward - guess)
    moments = tf.matmul(chosen * (weight * error)[..., None], x, transpose_a=True)  # [R, K, D]
    eye = tf.eye(width, batch_shape=state.events.shape, dtype=x.dtype)
    inner = eye + tf.matmul(tf.matmul(state.root, products(which, x * tf.sqrt(new)[..., None], regressions)), state.root, transpose_b=True)
    inverse = solved(inner, eye)
    back = tf.linalg.matvec(inverse, tf.linalg.matvec(inverse, tf.linalg.matvec(state.root, moments)), transpose_a=True)  # L^-1' h
    mean = state.mean + tf.linalg.matvec(state.root, back, transpose_a=True)
    guess = tf.reduce_sum(tf.matmul(x, mean, transpose_b=True) * chosen, -1)
    lost = tf.square(reward - guess) if joins is None else tf.where(joins, reward * (reward - 2.0 * guess), tf.square(reward - guess))
    lost = tf.reduce_sum(chosen * (weight * lost)[..., None], 1) + tf.reduce_sum(tf.square(back), -1)
    events = state.events + tf.reduce_sum(chosen * new[..., None], 1)
    return Regression(tf.matmul(inverse, state.root), mean, events, tf.maximum(state.errors + 0.5 * lost, 0.0))


def products(which: Tensor, x: Tensor, regressions: int) -> Tensor:
    """Sum of x x' over the decisions [R, B] of each regression, [R, K, D, D]: sorted by regression, `ROWS` at a time."""
    replicas, decisions, width = x.shape
    order = tf.sort(which * decisions + tf.range(decisions), -1) % decisions
    number = tf.reduce_sum(tf.one_hot(which, regressions, dtype=tf.int32), 1)  # [R, K]
    blocks = -(-number // ROWS)
    ends, most = tf.cumsum(blocks, -1), decisions // ROWS + regressions
    block = tf.range(most)
    of = tf.minimum(tf.reduce_sum(tf.cast(ends[:, None] <= block[:, None], tf.int32), -1), regressions - 1)  # [R, M]
    begun, first, size = (tf.gather(v, of, batch_dims=1) for v in (ends - blocks, tf.cumsum(number, -1, exclusive=True), number))
    rank = ((block - begun) * ROWS)[..., None] + tf.range(ROWS)  # [R, M, ROWS]
    place = tf.reshape(tf.minimum(first[..., None] + rank, decisions - 1), [replicas, -1])
    rows = tf.reshape(tf.gather(x, tf.gather(order, place, batch_dims=1), batch_dims=1), [replicas, most, ROWS, width])
    rows = tf.transpose(tf.where((rank < size[..., None])[..., None], rows, tf.zeros_like(rows)), [1, 0, 2, 3])
    of, replica = tf.transpose(of), tf.range(replicas)

    def step(m: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        inner = tf.matmul(rows[m], rows[m], transpose_a=True)
        return m + 1, tf.tensor_scatter_nd_add(sums, tf.stack([replica, of[m]], -1), inner)

    zeros = tf.zeros([replicas, regressions, width, width], x.dtype)
    return tf.while_loop(lambda m, _: m < most, step, (tf.constant(0), zeros))[1]


def _one(state: Regression, which: Tensor, x: Tensor, reward: Tensor, weight: Tensor, joins: Tensor | None = None) -> Regression:
    """One decision of each replica: which [R], x [R, D], reward [R], weight [R], joins [R].

    A reward that joins moves sum x r alone: P stays, mean += P x r, b += r (r - 2 x . mean - r x' P x) / 2.
    """
    part = tf.sqrt(weight)
    x, reward = x * part[:, None], reward * part
    root, mean = (tf.gather(values, which, batch_dims=1) for values in (state.root, state.mean))
    v = tf.linalg.matvec(root, x)
    along = tf.linalg.matvec(root, v, transpose_a=True)  # P x
    more = 1.0 + tf.reduce_sum(v * v, -1)
    guess = tf.reduce_sum(mean * x, -1)
    error = reward - guess
    place = tf.stack([tf.range(x.shape[0]), which], 1)
    shrink = (v / (more + tf.sqrt(more))[:, None])[:, :, None] * along[:, None, :]
    move, lost = error / more, 0.5 * error * error / more
    if joins is not None:
        shrink, weight = tf.where(joins[:, None, None], tf.zeros_like(shrink), shrink), tf.where(joins, tf.zeros_like(weight), weight)
        move, lost = tf.where(joins, reward, move), tf.where(joins, 0.5 * reward * (reward - 2.0 * guess - reward * (more - 1.0)), lost)
    return Regression(
        tf.tensor_scatter_nd_sub(state.root, place, shrink),
        tf.tensor_scatter_nd_add(state.mean, place, along * move[:, None]),
        tf.tensor_scatter_nd_add(state.events, place, weight),
        tf.tensor_scatter_nd_add(state.errors, place, lost),
    )
