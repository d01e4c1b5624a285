"""The served graph: raw features to click rates and decisions.

A fixed number of weight draws is taken once, when the model is exported, so that the answers are a function of the request. The page
effect is integrated out: a row of `click_rate` is conditioned on its own counts alone, the candidates of one `decide` on each
other's, each weight draw with page weights of its own (methods.md; sharing them makes model_stddev four times too large).

Everything with a state (tables, variables) is tracked by this module: the session loader and the C API start only what is tracked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from recbayes.calibration.recalibration import Recalibration, faded
from recbayes.densities.beta_mixture import BetaMixtureFamily
from recbayes.export import guards, merging, rates, schema
from recbayes.export.merging import Betas
from recbayes.export.summed import Numbers, Summed
from recbayes.policies import Policy, slate
from recbayes.policies.base import learner_name
from recbayes.policies.choose import choose_at
from recbayes.predictive import Predictive
from recbayes.random import fold
from recbayes.types import Clock, Tensor, UserError

Outputs = tuple[Tensor, ...]
"""The network's, [P, S, ...], in parts along P."""
RatesOf = Callable[[Outputs, Tensor, Tensor, Sequence[float]], rates.Rates]

INTERVAL = (0.05, 0.95)
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
      positions: of a page that `slate` fills; None for no slates.

    Raises: UserError if the policy does not learn from the density, the floor is outside [0, 1), or a slate has no position or no policy.
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
        positions: int | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= floor < 1.0:
            raise UserError(f"export: floor is {floor}, must be in [0, 1)")
        if positions is not None and (positions < 1 or policy is None):
            raise UserError(f"export: slate is {positions}: it is the number of positions, at least 1, and a policy fills them")
        learner = learner_name(policy.learner) if policy is not None else ""
        if learner not in ("", "density"):
            raise UserError(f"export: {policy.name} learns from {learner}, the export serves the model. Give the policy without a learner")  # type: ignore[union-attr]
        folded = fitted.folded(fitted.draw(draws, seed))
        self.encoder = fitted.encoder
        self.weights = [tf.Variable(tensor, trainable=False) for tensor in tf.nest.flatten(folded.constants)]
        self.network_values = [variable.value for variable in fitted.model.non_trainable_variables]  # what Keras holds, tracked by hand
        self.tau = None if fitted.group_effect is None else tf.Variable(fitted.group_effect.tau, trainable=False)
        self._outputs: Callable[[Mapping[str, Tensor]], Outputs] = lambda encoded: folded.outputs(
            tf.nest.pack_sequence_as(folded.constants, [tf.convert_to_tensor(weight) for weight in self.weights]), encoded
        )
        self._family = fitted.family
        self._recalibration: Recalibration | None = getattr(fitted, "recalibration", None)
        self._policy, self.positions = policy and _floored(policy, floor), positions
        self.defaults = MappingProxyType({**DEFAULTS, **defaults, "exploration": policy.exploration if policy is not None else 0.0})
        self.inputs = MappingProxyType(schema.inputs(self.encoder, self.defaults))
        self._names = MappingProxyType(schema.served_names(list(self.encoder.signature)))

    @property
    def signatures(self) -> tuple[str, ...]:
        """Their names: click_rate, with a policy decide, and with positions slate."""
        return ("click_rate", *(["decide"] if self._policy else []), *(["slate"] if self.positions else []))

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
        return guards.finite(self._answers(*self._scored(inputs), self._rates))

    def quickly(self, encoded: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Outputs]:
        """`click_rate` of encoded rows without counts by merged draws alone, a tenth of the graph.

        Returns: answers [N] each; where they are as good as by every draw, bool [N]; of the other rows what `by_draws` takes, [P, S, M].
        """
        whole, outputs = [], self._outputs(encoded)
        none = tf.zeros(tf.shape(outputs[0])[-1:])

        def merged(outputs: Outputs, clicks: Tensor, impressions: Tensor, levels: Sequence[float]) -> rates.Rates:
            if not isinstance(self._family, BetaMixtureFamily):
                whole.append(tf.ones_like(clicks, tf.bool))
                return self._rates(outputs, clicks, impressions, levels)
            found, alike = rates.merged(self._betas(outputs), self._tau(), clicks, impressions, levels, unseen=True)
            whole.append(alike)
            return found

        answers = self._answers(outputs, none, none, merged)
        alike = tf.reduce_all(tf.stack(whole), 0)
        return answers, alike, tuple(tf.gather(part, tf.where(~alike)[:, 0], axis=-1) for part in outputs)

    def by_draws(self, outputs: Outputs) -> dict[str, Tensor]:
        """`click_rate` of rows without counts draw by draw, from the network's outputs of them."""
        none = tf.zeros(tf.shape(outputs[0])[-1:])
        return self._answers(outputs, none, none, lambda outputs, *law: rates.drawn(self._betas(outputs), self._tau(), *law))

    def _scored(self, inputs: Mapping[str, Tensor]) -> tuple[Outputs, Tensor, Tensor]:
        """A request for click rates, checked: the network's outputs [P, S, N], clicks and impressions [N]."""
        given = guards.checked("click_rate", self.inputs["click_rate"], inputs, like="clicks")
        clicks, impressions = (tf.cast(given[name], tf.float32) for name in ("clicks", "impressions"))
        return self._outputs(self.encoder({feature: given[name] for feature, name in self._names.items()})), clicks, impressions

    def _answers(self, outputs: Outputs, clicks: Tensor, impressions: Tensor, law: RatesOf) -> dict[str, Tensor]:
        """The outputs of click_rate."""
        found = law(outputs, clicks, impressions, [level(q) for q in INTERVAL for level in self._levels()])
        lower, upper = self._interval(found, lambda: law(outputs, tf.zeros_like(clicks), tf.zeros_like(clicks), ()), impressions)
        return {
            "mean": found.mean,
            "data_stddev": found.data_stddev,
            "model_stddev": found.model_stddev,
            "stddev": tf.sqrt(tf.square(found.data_stddev) + tf.square(found.model_stddev)),
            "lower": lower,
            "upper": upper,
        }

    def decide(self, **inputs: Tensor) -> dict[str, Tensor]:
        """One action a decision.

        Args:
          **inputs: context features [B, ...], item features [B, A, ...]; clicks, impressions int64 and candidates bool [B, A]; remaining,
            batch float32 [B]; exploration float32 []; seed int32 [2].

        Returns: action int32 [B], propensity [B], probabilities, mean, stddev [B, A].
        Raises: tf.errors.InvalidArgumentError if the inputs' lengths differ, counts are impossible, or a decision has no candidate.
        """
        given, predictive, clock = self._asked("decide", inputs)
        numbers = Numbers(given["seed"], tf.shape(given["candidates"])[0])
        known = predictive._replace(numbers=numbers) if isinstance(predictive, Summed) else predictive
        settings = given["candidates"], clock, fold(given["seed"], 0)
        probabilities = self._policy.probabilities(known, *settings, exploration=given["exploration"])  # type: ignore[union-attr]
        decision = choose_at(probabilities, numbers.choices())
        return guards.finite({**decision._asdict(), "mean": predictive.mean, "stddev": predictive.stddev})

    def slate(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Several actions a decision, none twice, each given those above it.

        Args:
          **inputs: those of `decide`.

        Returns: actions int32, propensities [B, L], probabilities [B, L, A], mean, stddev [B, A].
        Raises: tf.errors.InvalidArgumentError as `decide`.
        """
        given, predictive, clock = self._asked("slate", inputs)
        settings = given["candidates"], clock, given["seed"]
        filled = slate(self._policy, predictive, *settings, size=self.positions, exploration=given["exploration"])  # type: ignore[arg-type]
        return guards.finite({**filled._asdict(), "mean": predictive.mean, "stddev": predictive.stddev})

    def _asked(self, signature: str, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Summed | Predictive, Clock]:
        """A request for decisions, checked; what is known of its candidates; its clock."""
        given = guards.checked(signature, self.inputs[signature], inputs, like="candidates")
        clicks, impressions = (tf.cast(given[name], tf.float32) for name in ("clicks", "impressions"))
        predictive = self._predictive(self._encode_decisions(given), clicks, impressions, given["candidates"])
        return given, predictive, Clock(tf.reduce_sum(impressions, -1) / given["batch"], given["remaining"], given["batch"])

    def density(self, encoded: Mapping[str, Tensor]) -> Any:
        """The density of each encoded row under each weight draw, from features alone; leaves [S, N, K]."""
        return self._by_draw(self._outputs(encoded))

    def _rates(self, outputs: Outputs, clicks: Tensor, impressions: Tensor, levels: Sequence[float]) -> rates.Rates:
        """Click rates of rows whose outputs are [P, S, N]."""
        if not isinstance(self._family, BetaMixtureFamily):
            return rates.of_others(self._by_draw(outputs), self._tau(), clicks, impressions, levels)
        return rates.rates(self._betas(outputs), self._tau(), clicks, impressions, levels)

    def _betas(self, outputs: Outputs) -> Betas:
        """The same as mixtures [K, S, N, 1]."""
        return Betas(*self._family.by_component(*(part[..., None] for part in outputs)))

    def _by_draw(self, outputs: Outputs) -> Any:
        """Densities of rows whose outputs are [P, S, N], leaves [S, N, K]."""
        return self._family.density(_components_last(outputs))

    def _levels(self) -> tuple[Callable[[float], float], ...]:
        """Which quantiles stand for a level: its own, and a recalibrated model's before any counts."""
        return (float,) if self._recalibration is None else (float, self._recalibration.level)

    def _interval(self, found: rates.Rates, unseen: Callable[[], rates.Rates], impressions: Tensor) -> tuple[Tensor, ...]:
        """The ends of the 90% interval, each [N]: recalibrated if the model is, the less so the more a row's own counts say."""
        if self._recalibration is None:
            return found.quantiles
        relative = [tf.square(law.data_stddev / law.mean) + tf.square(law.model_stddev / law.mean) for law in (found, unseen())]
        left = tf.where(impressions > 0.0, tf.minimum(tf.math.divide_no_nan(*relative), 1.0), 1.0)
        plain, mapped = found.quantiles[::2], found.quantiles[1::2]
        return tuple(faded(own, moved, left) for own, moved in zip(plain, mapped, strict=True))

    def _tau(self) -> Tensor | None:
        return None if self.tau is None else tf.convert_to_tensor(self.tau)

    def _encode_decisions(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encoded features of B x A rows; a context is encoded once and repeated."""
        raw, items = {}, {}
        for feature, name in self._names.items():
            items[feature] = self.encoder.specs[feature].side == "item"
            value = inputs[name]
            raw[feature] = tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], 0)) if items[feature] else value
        encoded = self.encoder(raw)
        candidates = inputs["candidates"]
        decision = tf.reshape(tf.broadcast_to(tf.range(tf.shape(candidates)[0])[:, None], tf.shape(candidates)), [-1])  # [B A]
        return {name: value if items[name] else tf.gather(value, decision) for name, value in encoded.items()}

    def _predictive(self, encoded: Mapping[str, Tensor], clicks: Tensor, impressions: Tensor, present: Tensor) -> Summed | Predictive:
        """What is known of B x A candidates given all their counts; the A candidates of one decision share its page effect."""
        shape = tf.shape(clicks)
        outputs = [tf.reshape(part, tf.concat([part.shape[:2], shape], 0)) for part in self._outputs(encoded)]  # [P, S, B, A]
        if not isinstance(self._family, BetaMixtureFamily):
            return rates.by_draws(self._family.density(_components_last(outputs)), self._tau(), clicks, impressions, present)
        one = merging.merged(Betas(*self._family.by_component(*outputs)), present)
        return Summed.of(rates.joined(one, self._tau(), clicks, impressions)[1], present)


def _components_last(outputs: Sequence[Tensor]) -> Tensor:
    """Outputs [P, ...] in parts as [..., P]."""
    whole = tf.concat(outputs, 0) if len(outputs) > 1 else outputs[0]
    return tf.transpose(whole, [*range(1, whole.shape.rank), 0])


def _floored(policy: Policy, floor: float) -> Policy:
    """The policy with the export's floor, where that is more than its own."""
    return policy._replace(settings={**policy.settings, "floor": max(floor, float(policy.settings.get("floor", 0.0)))})
