"""Maximum likelihood: the weights under which the log is most probable. No prior, no doubt; the yardstick for both."""

from __future__ import annotations

from recbayes.posteriors import base
from recbayes.posteriors import point_estimate as point
from recbayes.types import Tensor


def mle() -> base.Posterior:
    """The weights that maximise the log likelihood; its model_stddev is 0.

    >>> mle().kind
    'mle'
    """

    def update(network: base.Network, state: point.State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[point.State, Tensor]:
        return point.update(network, state, batch, rate, prior_scale=None)

    return base.Posterior("mle", {}, 1, point.init, update, base.unfinished, point.sample, point.outputs, point.extras)
