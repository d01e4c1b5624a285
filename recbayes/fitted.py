"""`fit`: a log, features and four choices in, a fitted model out; `Fitted`: what it knows about rows it has not seen.

Training goes twice. First without the newest tenth of the groups, whose log likelihood says how many epochs are enough; then on all
groups for so many, the step size falling to its end over them. The test log is never looked at.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recbayes import densities, models, posteriors
from recbayes.calibration.points import few_of, quantile_knots
from recbayes.calibration.recalibration import LEAST_GROUPS, Recalibration, fit_map
from recbayes.densities import baselines
from recbayes.densities.beta_mixture import BetaMixtureFamily
from recbayes.densities.group_effect import GroupEffect
from recbayes.engine import Engine, Kind
from recbayes.features import Encoder, Feature
from recbayes.fitting import InMemory, OnDisk, Part, columns_of, encode, part_of, segments_of
from recbayes.log import Log
from recbayes.log.columns import nearest
from recbayes.log.stream import Stream
from recbayes.posteriors import Batch, Network, Posterior
from recbayes.posteriors.base import Folded
from recbayes.predictive import Predictive
from recbayes.runtime import as_traced
from recbayes.training import Progress, Rows, Schedule, Trained, batches, doubts_of_training, group_count, train, whole_groups
from recbayes.types import Array, Tensor, UserError
from recbayes.workers import must_share, stepping

IN_MEMORY = ("nuts", "sgld")
"""Posteriors that hold all rows."""
_CHUNK = 4096
_PART = 256
"""Rows whose likelihood is taken at once: with page nodes, draws and components these are millions of numbers."""
_LIST = "fitted.json"


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted click model.

    encoder: raw columns to tensors; model: the network; family: outputs to a density; posterior, state: what is known of the weights;
    group: the column whose rows share an effect, or None; history: a record an epoch; record: figures of the fit; recalibration: the map of
    a row's predictive law that was fitted on groups set aside, or None.
    """

    encoder: Encoder
    model: keras.Model
    family: Any
    posterior: Posterior
    state: Any
    group: str | None
    history: list[dict[str, float]]
    record: dict[str, Any]
    recalibration: Recalibration | None = None

    @property
    def network(self) -> Network:
        """The model as the posterior's functions take it."""
        network = network_of(self.model, self.family, self.group, {"log_tau": 0.0}, self.record["rows"])
        return network._replace(clusters=self.record.get("clusters"))

    @property
    def group_effect(self) -> GroupEffect | None:
        """The page effect with its fitted tau, or None."""
        return GroupEffect(tf.exp(self.posterior.extras(self.state)["log_tau"])) if self.group else None

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before relying on the fit, each a sentence; empty is good."""
        return list(self.record.get("warnings", []))

    def draw(self, draws: int | None = None, seed: int = 0) -> Any:
        """Weight draws: a structure of tensors for `outputs`; by default as many as the posterior was built with."""
        return self.posterior.sample(self.network, self.state, draws or self.posterior.draws, tf.constant([seed, 1], tf.int32))

    def outputs(self, encoded: Mapping[str, Tensor], weights: Any) -> Tensor:
        """The network's raw outputs under each draw, [S, N, P]; TensorFlow operations only, so it goes into an export."""
        return self.posterior.outputs(self.network, weights, dict(encoded))

    def folded(self, weights: Any) -> Folded:
        """Weight draws as an export holds them: the same outputs as [P, S, N], in parts along P."""
        if self.posterior.fold is not None:
            return self.posterior.fold(self.network, weights)
        return Folded(weights, lambda constants, encoded: (tf.transpose(self.outputs(encoded, constants), (2, 0, 1)),))

    def densities(self, log: Any, *, draws: int | None = None, seed: int = 0) -> Any:
        """The density of each row's click rate under each draw, leaves [S, N, K]; log is a log or a mapping of columns."""
        encoded = encode(self.encoder, columns_of(log, self.encoder))
        density, chunks = self._density_of(self.draw(draws, seed)), []
        rows = len(next(iter(encoded.values())))
        for start in range(0, rows, _CHUNK):
            part = {name: tf.constant(value[start : start + _CHUNK]) for name, value in encoded.items()}
            chunks.append(density(part))
        return tf.nest.map_structure(lambda *leaves: tf.concat(leaves, axis=1), *chunks)

    def _density_of(self, weights: Any) -> Callable[[Mapping[str, Tensor]], Any]:
        """What gives encoded rows their density under weight draws, leaves [S, N, K], the quicker way if there are two."""
        if self.posterior.fold is None or not isinstance(self.family, BetaMixtureFamily):
            return lambda encoded: self.family.density(self.outputs(encoded, weights))
        family, folded = self.family, self.folded(weights)
        return lambda encoded: family.density_of_parts(*folded.outputs(folded.constants, encoded))

    def predict(self, log: Any, *, draws: int | None = None, seed: int = 0) -> Predictive:
        """What a row's features alone say of its click rate: N decisions of one candidate, the page effect integrated out."""
        density = tf.nest.map_structure(lambda leaf: leaf[:, :, None, :], self.densities(log, draws=draws, seed=seed))  # [S, N, 1, K]
        if self.group_effect is None:
            return Predictive.from_draws(density)
        return Predictive.from_draws(density, group_effect=self.group_effect)

    def log_likelihood(self, log: Log, *, draws: int | None = None, seed: int = 0) -> Array:
        """Log probability of each group's clicks, joint over its rows, the posterior's draws averaged, float64 [G]."""
        density = self.densities(log, draws=draws, seed=seed)
        clicks, impressions = np.asarray(log.clicks, np.float32), np.asarray(log.impressions, np.float32)
        found = []
        segments, count = segments_of(log, self.group)
        for rows, groups in whole_groups(segments, _PART, np.arange(count)):
            part = tf.nest.map_structure(lambda leaf, rows=rows: tf.gather(leaf, rows, axis=1), density)
            own = segments[rows] - groups[0]
            joint = joint_log_likelihood(part, self.group_effect, clicks[rows], impressions[rows], own, len(groups))  # [S, G]
            joint = tf.cast(joint, tf.float64)
            found.append((tf.reduce_logsumexp(joint, axis=0) - np.log(joint.shape[0])).numpy())
        return np.concatenate(found)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the model, the encoder and the posterior's state into a folder, which `load` reads."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.model.save(path / "model.keras")
        self.encoder.save(path)
        arrays: dict[str, Any] = {f"t{i}": np.asarray(t) for i, t in enumerate(tf.nest.flatten(self.state))}
        np.savez(path / "state.npz", **arrays)
        about = {
            "family": {"kind": self.family.name, **self.family.settings()},
            "posterior": {"kind": self.posterior.kind, **self.posterior.settings},
            "group": self.group,
            "history": self.history,
            "record": self.record,
            "recalibration": None if self.recalibration is None else self.recalibration.record(),
        }
        (path / _LIST).write_text(json.dumps(about, indent=1))

    def _repr_html_(self) -> str:
        tau = f", page effect {float(self.group_effect.tau):.2f}" if self.group_effect is not None else ""
        size = f"{self.record['rows']:,} rows, {self.record['epochs']} epochs"
        warned = "".join(f"<p><b>Warning:</b> {escape(warning)}</p>" for warning in self.warnings)
        return f"<p><b>{self.posterior.kind}</b> over <b>{self.family.name}</b>{tau}: {size}</p>{warned}"


@as_traced()
def fit(
    log: Log | Stream,
    *,
    features: Sequence[Feature],
    density: Any = None,
    group_effect: str | bool | None = None,
    posterior: Posterior | None = None,
    model: models.Builder | None = None,
    epochs: int = 20,
    batch_size: int = 512,
    learning_rate: float = 0.01,
    patience: int = 8,
    held_out: float = 0.1,
    oov_share: float = 0.1,
    recalibrate: bool = False,
    negative_share: float = 1.0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_steps: int = 1000,
    progress: Progress | None = None,
    workers: int = 1,
    engine: Kind | Engine = "ray",
) -> Fitted:
    """Fits a click model to a training log.

    Args:
      log: the training rows; events are summed to counts first. Of `stream_log`, rows stay on disk, memory is bounded, and events are
        trained on as they are: sum them with `aggregate` before, or their spread cannot be told from their mean.
      features: what the network sees.
      density: the family of the click rate's distribution.
      group_effect: the column whose rows share an effect, or False; by default the log's group column, unless its median
        group has under 100 impressions.
      posterior: how doubt about the weights is expressed; by default `last_layer()`.
      model: builds the network, `(specs, size, location) -> keras.Model`; by default `ddn()`.
      epochs: passes over the rows, at most.
      batch_size: rows a step, about: groups stay whole.
      learning_rate: Adam's first step size; it falls along half a cosine.
      patience: epochs without a better held-out log likelihood before training stops.
      held_out: share of the groups, the newest ones, that decide how many epochs are enough; 0 trains `epochs` at once.
      oov_share: share of the groups trained on once more each epoch with categories hidden.
      recalibrate: fit a map of the predictive law to the held-out groups, for the intervals (`calibration.recalibration`).
      negative_share: share of the groups without a click (of rows, where there is no group effect) that an epoch trains on, other ones
        each time; their likelihood counts for those left out, so fitted rates are those of all rows.
      seed: the result is a function of log, arguments and seed.
      checkpoint: a folder; an interrupted fit of the same arguments goes on from it.
      checkpoint_steps: it is written after each epoch, and after so many steps within one.
      progress: called after each epoch with (done, of, figures).
      workers: processes on CPUs that share every step, its rows cut between groups, or an ensemble's members; the steps are those of one
        up to rounding. Chains of `nuts`, spread from 1,000 rows on, draw other random numbers with each number of workers.
      engine: what starts them if they are more than one: ray, on this machine, or an engine that is open.

    Returns: the fitted model.
    Raises: UserError for a log that cannot be fitted, with what is wrong.
    """
    family = density if density is not None else densities.beta_mixture()
    method = posterior if posterior is not None else posteriors.last_layer()
    build = model if model is not None else models.ddn()
    if not features:
        raise UserError("fit: no features. Name at least one column, say features=[rb.text('headline')]")
    whole = part_of(log, group_effect, negative_share)
    if workers != 1:
        must_share(workers, whole.groups, batch_size)
    if isinstance(whole, OnDisk):
        must_stream(whole.stream, features, method, recalibrate)
    schedule = Schedule(epochs, batch_size, learning_rate, patience, oov_share, seed)
    group = whole.group

    def one(part: Part, schedule: Schedule, name: str, judge: Part | None) -> tuple[Encoder, Network, Trained]:
        keras.utils.set_random_seed(seed)
        encoder = part.encoder(features)
        feed = part.feed(encoder, schedule)
        network = network_at_start(part, encoder, family, build, group)
        token = fingerprint(part, network, features, family, method, schedule, group)
        mark = token if workers == 1 else f"{token}_{workers}workers"
        folder = Path(checkpoint) / f"{name}_{mark}" if checkpoint is not None else None
        score = scorer(network, method, judge.rows(encoder)) if judge is not None else None
        trained = train(
            network,
            method,
            feed,
            schedule,
            held_out=score,
            checkpoint=folder,
            checkpoint_steps=checkpoint_steps,
            progress=progress,
            finish=recalibrate or judge is None,
            stepper=stepper,
        )
        return encoder, network, trained

    history: list[dict[str, float]] = []
    recalibration = None
    if recalibrate:
        must_hold_out(round(held_out * whole.groups))
    both = whole.split(held_out, seed) if held_out > 0 else None
    with stepping(workers, engine) as stepper:
        if both is not None:
            older, newest = both
            older_encoder, searched, search = one(older, schedule, "search", newest)
            history = search.history
            schedule = schedule._replace(epochs=search.best_epoch)
            if recalibrate and isinstance(newest, InMemory):
                about = {"rows": older.size, "clusters": searched.clusters}
                early = Fitted(older_encoder, searched.model, family, method, search.state, group, history, about)
                recalibration = recalibrated(early, newest.log, seed=seed)
        encoder, network, trained = one(whole, schedule, "final", None)
    record = {
        "rows": whole.size,
        "share_without_clicks": whole.share_without_clicks,
        "groups": whole.groups,
        "clusters": network.clusters,
        "epochs": schedule.epochs,
        "seed": seed,
        "fingerprint": whole.fingerprint,
        "diagnostics": method.diagnostics(trained.state),
        "warnings": method.warnings(network, trained.state) + doubts_of_training(trained.history) + doubts_of_events(log, family),
    }
    return Fitted(encoder, network.model, family, method, trained.state, group, history or trained.history, record, recalibration)


def must_stream(stream: Stream, features: Sequence[Feature], method: Posterior, recalibrate: bool) -> None:
    """UserError for columns that are not there, and for what needs all rows in memory."""
    known = stream.names
    if missing := [f"{feature.name!r}.{nearest(feature.name, known)}" for feature in features if feature.name not in known]:
        raise UserError(f"features: {stream.source} has no column {' '.join(missing)}")
    whole = {f"posterior {method.kind}": method.kind in IN_MEMORY, "recalibrate": recalibrate}
    if asked := [what for what, is_asked in whole.items() if is_asked]:
        raise UserError(
            f"fit: {' and '.join(asked)}: all rows must be in memory, and a stream leaves those of {stream.source} on disk. Read the log "
            "with rb.read_log (in a config: log.stream=false), or leave that out."
        )


def doubts_of_events(log: Log | Stream, family: Any) -> list[str]:
    """A warning where single impressions were trained on as they are, though the family tells rows apart."""
    if not isinstance(log, Stream) or log.columns.impressions is not None or family.name == "point":
        return []
    return [
        f"the rows of {log.source} are single impressions: the spread of click rates cannot be told from their mean. Sum them with "
        "rb.aggregate first, or use density: point"
    ]


def recalibrated(fitted: Fitted, log: Log, *, seed: int = 0) -> Recalibration:
    """The map that makes the model's predictive laws fit the clicks of groups that it was not trained on.

    Args:
      fitted: the model.
      log: those groups; counts.
      seed: of the draws of click rates.

    Raises: UserError if they are too few.
    """
    parts = np.array_split(np.arange(len(log)), -(-len(log) // 1024))
    knots = [quantile_knots(few_of(fitted.predict(log.take(rows))), seed=seed) for rows in parts]
    return fit_map(log.clicks, log.impressions, np.concatenate(knots, axis=1), log.clusters[0])


def must_hold_out(groups: int) -> None:
    """Recalibration needs groups that training does not see."""
    if groups < LEAST_GROUPS:
        raise UserError(
            f"train.recalibrate: held_out sets {groups} groups aside, the map needs {LEAST_GROUPS}. Raise train.held_out, or leave "
            "train.recalibrate out"
        )


def load(folder: str | os.PathLike[str]) -> Fitted:
    """Reads a fitted model that `Fitted.save` wrote.

    Raises: UserError if the folder does not hold one.
    """
    path = Path(folder)
    if not (path / _LIST).is_file():
        raise UserError(f"{path}: no fitted model here (no {_LIST}). Run the train stage first, or give a run's model folder")
    about = json.loads((path / _LIST).read_text())
    family = built(densities, about["family"])
    method = built(posteriors, about["posterior"])
    model = keras.models.load_model(path / "model.keras", compile=False)
    network = network_of(model, family, about["group"], {"log_tau": 0.0}, about["record"]["rows"])
    like = method.init(network, tf.constant([about["record"]["seed"], 0], tf.int32))
    with np.load(path / "state.npz") as saved:
        state = tf.nest.pack_sequence_as(like, [tf.constant(saved[f"t{i}"]) for i in range(len(saved.files))])
    recalibration = Recalibration.of(about.get("recalibration"))
    return Fitted(Encoder.load(path), model, family, method, state, about["group"], about["history"], about["record"], recalibration)


def network_of(model: keras.Model, family: Any, group: str | None, extras: Mapping[str, float], rows: int) -> Network:
    """The model with the likelihood of whole groups under a density family."""

    def log_likelihood(outputs: Tensor, extras: Mapping[str, Tensor], batch: Batch) -> Tensor:
        effect = GroupEffect(tf.exp(extras["log_tau"])) if group else None
        return joint_log_likelihood(
            family.density(outputs), effect, batch.clicks, batch.impressions, batch.segments, tf.shape(batch.groups)[0]
        )

    return Network(model, models.prior_stddevs(model), log_likelihood, dict(extras) if group else {}, rows, family=family)


def joint_log_likelihood(
    density: Any, effect: GroupEffect | None, clicks: Array, impressions: Array, segments: Array, groups: Any
) -> Tensor:
    """Log probability of each group's clicks, [..., G], from rows' densities [..., N]."""
    clicks, impressions = tf.cast(clicks, tf.float32), tf.cast(impressions, tf.float32)
    if effect is not None:
        return effect.log_marginal(density, clicks, impressions, segments, groups)
    rows = density.log_marginal(clicks, impressions)  # [..., N]
    last = len(rows.shape) - 1
    summed = tf.math.unsorted_segment_sum(tf.transpose(rows, [last, *range(last)]), segments, groups)
    return tf.transpose(summed, [*range(1, last + 1), 0])


def prepare(log: Log, encoder: Encoder, family: Any, build: models.Builder, group: str | None) -> tuple[Network, Rows]:
    """The network at the feature-free fit of the log, and the log's encoded rows."""
    part = InMemory(log, group)
    return network_at_start(part, encoder, family, build, group), part.rows(encoder)


def network_at_start(part: Part, encoder: Encoder, family: Any, build: models.Builder, group: str | None) -> Network:
    """The network at the feature-free fit of the rows."""
    clicks, impressions, segments = part.start()
    model = build(encoder.specs, family.size, family.location)
    tau = 0.0
    if group:
        mean, concentration, tau = baselines.page_effect(clicks, impressions, segments)
        start = family.start_at(mean, concentration)
    else:
        start = family.start(clicks, impressions)
    head_of(model).bias.assign(start)
    network = network_of(model, family, group, {"log_tau": float(np.log(max(tau, 0.05)))}, part.size)
    return network._replace(clusters=part.clusters)


def head_of(model: keras.Model) -> Any:
    """The model's last dense layer, whose bias starts at the feature-free fit.

    Raises: UserError if there is none with a bias.
    """
    head = next((layer for layer in model.layers if layer.name == "head"), None)
    if not isinstance(head, keras.layers.Dense) or head.bias is None:
        raise UserError(
            "fit: the model has no dense layer named 'head' with a bias. Name the last one so: keras.layers.Dense(size, name='head')"
        )
    return head


def scorer(network: Network, method: Posterior, rows: Rows) -> Callable[[Any], float]:
    """State -> log likelihood a row of the rows, at the state's own point or average of draws, no last look taken."""
    groups = group_count(rows)
    whole = list(batches(rows, 2048, np.arange(groups)))

    @tf.function(reduce_retracing=True, autograph=False)
    def total(weights: Any, extras: dict[str, Tensor], batch: Batch) -> Tensor:
        joint = network.log_likelihood(method.outputs(network, weights, batch.inputs), extras, batch)  # [S, G]
        return tf.reduce_sum(tf.reduce_logsumexp(joint, axis=0) - tf.math.log(tf.cast(tf.shape(joint)[0], joint.dtype)))

    def score(state: Any) -> float:
        weights = method.sample(network, state, min(method.draws, 8), tf.constant([0, 2], tf.int32))
        return float(sum(float(total(weights, method.extras(state), batch)) for batch in whole) / len(rows.clicks))

    return score


def built(room: Any, record: Mapping[str, Any]) -> Any:
    """What `{"kind": NAME, **settings}` says, built by the room's function NAME."""
    settings = {k: v for k, v in record.items() if k != "kind"}
    return getattr(room, record["kind"])(**settings)


def fingerprint(
    part: Part, network: Network, features: Sequence[Feature], family: Any, method: Posterior, schedule: Schedule, group: str | None
) -> str:
    """A short hash of everything that a checkpoint depends on."""
    declared = [dataclasses.asdict(feature) for feature in features]
    layers = [
        [type(layer).__name__, getattr(layer, "rate", None), getattr(getattr(layer, "activation", None), "__name__", "")]
        for layer in network.model.layers
    ]
    model = [layers, [[v.path, list(v.shape)] for v in network.model.trainable_variables], network.prior_stddev]
    parts = [
        part.fingerprint,
        part.size,
        declared,
        model,
        family.name,
        family.settings(),
        method.kind,
        method.settings,
        list(schedule),
        group,
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]
