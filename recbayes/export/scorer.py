"""The served graph: raw features to click rates and decisions.

A fixed number of weight draws is taken once, when the model is exported, so that the answers are a function of the request. The page
effect is integrated out: a row of `click_rate` is conditioned on its own counts alone, the candidates of one `decide` on each
other's, each weight draw with page weights of its own (methods.md; sharing them makes model_stddev four times too large).

Everything with a state (tables, variables) is tracked by this module: the session loader and the C API start only what is tracked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from recbayes.calibration.recalibration import Recalibration, faded
from recbayes.densities import BetaMixture
from recbayes.export import guards, merging, rates, schema
from recbayes.export.summed import Summed
from recbayes.policies import Policy, choose, with_floor
from recbayes.policies.base import learner_name
from recbayes.predictive import Predictive
from recbayes.random import fold
from recbayes.types import Clock, Tensor, UserError

INTERVAL = (0.05, 0.95)
DECISION = ("candidates", "remaining", "batch", "exploration")
DEFAULTS = {"remaining": 1000.0, "batch": 1.0}


class Scorer(tf.Module):
    """A fitted model and a policy as functions of tensors.

    Args:
      fitted: the model.
      policy: chooses among the candidates; None for click rates alone.
      draws: weight draws; None is as many as the posterior was built with.
      seed: of the weight draws.
      floor: every candidate is shown with at least this share of a uniform choice.
      defaults: of remaining and batch, for callers that have none.

    Raises: UserError if the policy does not learn from the density, or the floor is outside [0, 1).
    """

    def __init__(
        self,
        fitted: Any,
        policy: Policy | None = None,
        *,
        draws: int | None = None,
        seed: int = 0,
        floor: float = 0.0,
        defaults: Mapping[str, float] = DEFAULTS,
    ) -> None:
        super().__init__()
        if not 0.0 <= floor < 1.0:
            raise UserError(f"export: floor is {floor}, must be in [0, 1)")
        learner = learner_name(policy.learner) if policy is not None else ""
        if learner not in ("", "density"):
            raise UserError(f"export: {policy.name} learns from {learner}, the export serves the model. Give the policy without a learner")  # type: ignore[union-attr]
        drawn = fitted.draw(draws, seed)
        self.encoder = fitted.encoder
        self.weights = [tf.Variable(tensor, trainable=False) for tensor in tf.nest.flatten(drawn)]
        self.network_values = [variable.value for variable in fitted.model.variables]  # what Keras holds, tracked by hand
        self.tau = None if fitted.group_effect is None else tf.Variable(fitted.group_effect.tau, trainable=False)
        self._outputs: Callable[..., Tensor] = lambda encoded, weights: fitted.outputs(
            encoded, tf.nest.pack_sequence_as(drawn, list(weights))
        )
        self._density: Callable[[Tensor], Any] = fitted.family.density
        self._recalibration: Recalibration | None = getattr(fitted, "recalibration", None)
        self._policy, self._floor = policy, floor
        self.defaults = MappingProxyType({**DEFAULTS, **defaults, "exploration": policy.exploration if policy is not None else 0.0})
        self.inputs = MappingProxyType(schema.inputs(self.encoder, self.defaults))
        self._names = MappingProxyType(schema.served_names(list(self.encoder.signature)))

    @property
    def signatures(self) -> tuple[str, ...]:
        """Their names: click_rate, and with a policy decide."""
        return ("click_rate",) if self._policy is None else ("click_rate", "decide")

    def functions(self) -> dict[str, Any]:
        """The traced signatures, for `tf.saved_model.save` and for calls on NumPy arrays."""
        specs = {name: {entry.name: entry.spec for entry in self.inputs[name]} for name in self.signatures}
        return {name: tf.function(getattr(self, name), autograph=False).get_concrete_function(**specs[name]) for name in self.signatures}

    def click_rate(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Click rates of rows, each by itself.

        Args:
          **inputs: one tensor a feature under its served name, clicks and impressions int64; [N, ...] each.

        Returns: mean, data_stddev, model_stddev, stddev, lower, upper; float32 [N].
        Raises: tf.errors.InvalidArgumentError if the inputs' lengths differ or counts are impossible.
        """
        given = guards.checked("click_rate", self.inputs["click_rate"], inputs, like="clicks")
        clicks, impressions = (tf.cast(given[name], tf.float32) for name in ("clicks", "impressions"))
        density = self.density(self.encoder({feature: given[name] for feature, name in self._names.items()}))
        levels = [level(q) for q in INTERVAL for level in self._levels()]
        found = rates.rates(density, self._tau(), clicks, impressions, levels)
        lower, upper = self._interval(found, density, clicks, impressions)
        outputs = {
            "mean": found.mean,
            "data_stddev": found.data_stddev,
            "model_stddev": found.model_stddev,
            "stddev": tf.sqrt(tf.square(found.data_stddev) + tf.square(found.model_stddev)),
            "lower": lower,
            "upper": upper,
        }
        return guards.finite(outputs)

    def decide(self, **inputs: Tensor) -> dict[str, Tensor]:
        """One action a decision.

        Args:
          **inputs: context features [B, ...], item features [B, A, ...]; clicks, impressions int64 and candidates bool [B, A]; remaining,
            batch float32 [B]; exploration float32 []; seed int32 [2].

        Returns: action int32 [B], propensity [B], probabilities, mean, stddev [B, A].
        Raises: tf.errors.InvalidArgumentError if the inputs' lengths differ, counts are impossible, or a decision has no candidate.
        """
        given = guards.checked("decide", self.inputs["decide"], inputs, like="candidates")
        (candidates, remaining, batch, exploration), seed = (given[name] for name in DECISION), given["seed"]
        clicks, impressions = (tf.cast(given[name], tf.float32) for name in ("clicks", "impressions"))
        predictive = self._predictive(self._encode_decisions(given, candidates), clicks, impressions, candidates)
        clock = Clock(tf.reduce_sum(impressions, -1) / batch, remaining, batch)
        probabilities = self._policy.probabilities(predictive, candidates, clock, fold(seed, 0), exploration=exploration)  # type: ignore[union-attr]
        decision = choose(self._with_floor(probabilities, candidates), seed)  # `fold` and the draws of numbers never share a block
        return guards.finite({**decision._asdict(), "mean": predictive.mean, "stddev": predictive.stddev})

    def density(self, encoded: Mapping[str, Tensor]) -> Any:
        """The density of each encoded row under each weight draw, from features alone; leaves [S, N, K]."""
        return self._density(self._outputs(encoded, self.weights))

    def _levels(self) -> tuple[Callable[[float], float], ...]:
        """Which quantiles stand for a level: its own, and a recalibrated model's before any counts."""
        return (float,) if self._recalibration is None else (float, self._recalibration.level)

    def _interval(self, found: rates.Rates, density: Any, clicks: Tensor, impressions: Tensor) -> tuple[Tensor, ...]:
        """The ends of the 90% interval, each [N]: recalibrated if the model is, the less so the more a row's own counts say."""
        if self._recalibration is None:
            return found.quantiles
        before = rates.rates(density, self._tau(), tf.zeros_like(clicks), tf.zeros_like(impressions), ())
        relative = [tf.square(law.data_stddev / law.mean) + tf.square(law.model_stddev / law.mean) for law in (found, before)]
        left = tf.where(impressions > 0.0, tf.minimum(tf.math.divide_no_nan(*relative), 1.0), 1.0)
        plain, mapped = found.quantiles[::2], found.quantiles[1::2]
        return tuple(faded(own, moved, left) for own, moved in zip(plain, mapped, strict=True))

    def _tau(self) -> Tensor | None:
        return None if self.tau is None else tf.convert_to_tensor(self.tau)

    def _encode_decisions(self, inputs: Mapping[str, Tensor], candidates: Tensor) -> dict[str, Tensor]:
        """Encoded features of B x A rows; a context is encoded once and repeated."""
        raw, items = {}, {}
        for feature, name in self._names.items():
            items[feature] = self.encoder.specs[feature].side == "item"
            value = inputs[name]
            raw[feature] = tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], 0)) if items[feature] else value
        encoded = self.encoder(raw)
        arms = tf.shape(candidates)[1]
        return {name: value if items[name] else tf.repeat(value, arms, axis=0) for name, value in encoded.items()}

    def _predictive(self, encoded: Mapping[str, Tensor], clicks: Tensor, impressions: Tensor, present: Tensor) -> Summed | Predictive:
        """What is known of B x A candidates given all their counts; the A candidates of one decision share its page effect."""
        shape = tf.shape(clicks)
        by_decision = tf.nest.map_structure(
            lambda leaf: tf.reshape(leaf, tf.concat([[leaf.shape[0]], shape, [leaf.shape[-1]]], 0)), self.density(encoded)
        )  # [S, B, A, K]
        if not isinstance(by_decision, BetaMixture):
            return rates.by_draws(by_decision, self._tau(), clicks, impressions, present)
        one = merging.merged(by_decision, present)
        return Summed.of(rates.joined(one, self._tau(), clicks, impressions)[1], present)

    def _with_floor(self, probabilities: Tensor, candidates: Tensor) -> Tensor:
        """Raises the policy's own floor to the export's: (1 - own)(1 - added) = 1 - floor."""
        own = float(self._policy.settings.get("floor", 0.0)) if self._policy is not None else 0.0
        return probabilities if self._floor <= own else with_floor(probabilities, candidates, 1.0 - (1.0 - self._floor) / (1.0 - own))
