"""One list of all posteriors, one set of promises. A new file in recbayes/posteriors must join the list.

A page effect makes a graph five times as large: two methods have it here, every method in test_own_model.py.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from small import network, whole

import recbayes as rb
import recbayes.posteriors
from recbayes.posteriors import Network, base
from recbayes.training import Rows, batches, compiled_step
from recbayes.workers import cut, part_of


class Case(NamedTuple):
    """A posterior and a model that suits it; `doubts`: whether its draws differ."""

    posterior: Any
    model: Any = None
    doubts: bool = True
    page: bool = False


SMALL = {"embedding": 4, "title": 4, "tower": 4}
CASES = {
    "mle": Case(rb.mle(), doubts=False),
    "map": Case(rb.map(), doubts=False),
    "last_layer": Case(rb.last_layer(draws=6), page=True),
    "last_layer_variational": Case(rb.last_layer(draws=6, method="variational")),
    "mc_dropout": Case(rb.mc_dropout(draws=6), rb.ddn(**SMALL, dropout=0.3)),
    "mean_field": Case(rb.mean_field(draws=6, anneal=2)),
    "epinet": Case(rb.epinet(draws=6)),
    "ensemble": Case(rb.ensemble(members=3), page=True),
    "neural_linear": Case(rb.neural_linear(draws=6)),
    "nuts": Case(rb.nuts(draws=6, chains=2, warmup=10, samples=4), rb.linear()),  # a pass is cheap: it takes hundreds
    "sgld": Case(rb.sgld(draws=8, thin=2, burn_in=4)),
}
NO_METHOD = {"base", "curvature", "flipout", "kept_draws", "point_estimate", "stacked", "variational_head"}
SEED = tf.constant([3, 4], tf.int32)


class Trained(NamedTuple):
    """A network, its rows, the state before and after some updates, the updates' losses, the step that made them."""

    network: Network
    rows: Rows
    first: Any
    state: Any
    losses: list[float]
    step: Any


@cache
def trained(name: str) -> Trained:
    """A case's network and state, made when they are first asked for: tracing a step is what takes the time."""
    case = CASES[name]
    net, rows = network(case.model, page=case.page)
    first = case.posterior.init(net, SEED)
    step, state, losses = compiled_step(net, case.posterior, first, rows), first, []
    for _ in range(15):
        state, loss = step(state, whole(rows), SEED, tf.constant(0.01))
        losses.append(float(loss))
    finished = case.posterior.finish(net, state, list(batches(rows, 16, np.arange(12))))
    return Trained(net, rows, first, finished, losses, step)


def test_every_method_is_in_the_list() -> None:
    files = {m.name for m in pkgutil.iter_modules(recbayes.posteriors.__path__)} - NO_METHOD
    assert files == {case.posterior.kind for case in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_settings_build_the_same_method_again(name: str) -> None:
    """What a run folder stores must bring the method back."""
    again = getattr(rb, CASES[name].posterior.kind)(**CASES[name].posterior.settings)
    assert (again.kind, again.settings, again.draws) == CASES[name].posterior[:3]


@pytest.mark.parametrize("name", CASES)
def test_outputs_have_draws_rows_parameters(name: str) -> None:
    net, rows, _, state, *_ = trained(name)
    posterior = CASES[name].posterior
    outputs = posterior.outputs(net, posterior.sample(net, state, posterior.draws, SEED), whole(rows).inputs)
    assert outputs.shape == (posterior.draws, 48, 6)
    assert outputs.dtype == tf.float32
    assert bool(tf.reduce_all(tf.math.is_finite(outputs)))


@pytest.mark.parametrize("name", CASES)
def test_same_seed_same_draws_other_seed_others(name: str) -> None:
    net, rows, _, state, *_ = trained(name)
    posterior, inputs = CASES[name].posterior, whole(rows).inputs

    def outputs(seed: list[int]) -> Any:
        return posterior.outputs(net, posterior.sample(net, state, posterior.draws, tf.constant(seed, tf.int32)), inputs).numpy()

    np.testing.assert_array_equal(outputs([1, 2]), outputs([1, 2]))
    spread = outputs([1, 2]).std(axis=0).max()
    assert (spread > 1e-4) == CASES[name].doubts
    if name in ("last_layer", "last_layer_variational", "mc_dropout", "mean_field", "epinet"):
        assert np.abs(outputs([1, 2]) - outputs([1, 3])).max() > 1e-4


@pytest.mark.parametrize("name", CASES)
def test_identical_candidates_get_identical_draws(name: str) -> None:
    """Otherwise Thompson sampling prefers one of two equal items for no reason, and shows doubt where there is none."""
    net, rows, _, state, *_ = trained(name)
    posterior = CASES[name].posterior
    twice = {k: tf.constant(np.concatenate([v[:5], v[:5]])) for k, v in rows.inputs.items()}
    outputs = posterior.outputs(net, posterior.sample(net, state, posterior.draws, SEED), twice).numpy()
    np.testing.assert_array_equal(outputs[:, :5], outputs[:, 5:])


@pytest.mark.parametrize("name", CASES)
def test_a_step_lowers_the_loss_leaves_the_old_state_alone_and_is_traced_once(name: str) -> None:
    """Retracing takes seconds a batch: training would look hung."""
    net, rows, first, _, losses, step = trained(name)
    assert losses[-1] < losses[0]
    for old, tensor in zip(tf.nest.flatten(CASES[name].posterior.init(net, SEED)), tf.nest.flatten(first), strict=True):
        np.testing.assert_array_equal(old, tensor)
    for groups in (3, 5):
        step(first, whole(rows.take(np.arange(groups * 4))), SEED, tf.constant(0.01))
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", CASES)
def test_draws_go_into_a_graph(name: str) -> None:
    """The export traces `outputs` with the draws as constants."""
    net, rows, _, state, *_ = trained(name)
    posterior = CASES[name].posterior
    weights = posterior.sample(net, state, posterior.draws, SEED)
    inputs = whole(rows).inputs
    graph = tf.function(lambda x: posterior.outputs(net, weights, x))
    np.testing.assert_allclose(graph(inputs), posterior.outputs(net, weights, inputs), atol=2e-6)


@pytest.mark.parametrize("name", ["map", "last_layer_variational", "mc_dropout", "mean_field", "epinet", "ensemble"])
def test_parts_of_a_step_add_up_to_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """N workers must take the steps of one, random numbers included: loss and gradients of three parts sum to the whole batch's."""
    case = CASES[name]
    net, rows = network(case.model, page=name in ("map", "ensemble"))
    state, batch, seen = case.posterior.init(net, SEED), whole(rows), list[list[Any]]()
    cuts = [cut(rows.segments, rank, 3) for rank in range(3)]
    parts = [part_of(batch, tf.constant([*mine.rows, *mine.groups]), tf.constant(mine.weight, tf.float32)) for mine in cuts]
    monkeypatch.setattr(base, "summed", lambda tensors: seen.append([np.asarray(t) for t in tensors]) or list(tensors))
    for one in [part_of(batch, tf.constant([0, 48, 0, 12]), tf.constant(1.0)), *parts]:
        case.posterior.update(net, state, one, SEED, tf.constant(0.01))
    for total, *each in zip(*seen, strict=True):
        np.testing.assert_allclose(sum(each), total, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(total).max())))
    assert len(seen) == 4
