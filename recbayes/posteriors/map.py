"""Maximum a posteriori: the single most probable setting of the weights under a Gaussian prior (L2), and nothing about doubt."""

from __future__ import annotations

from recbayes.posteriors import base
from recbayes.posteriors import point_estimate as point
from recbayes.types import Tensor


def map(*, prior_scale: float = 1.0) -> base.Posterior:
    """The weights that maximise log likelihood plus log prior; its model_stddev is 0.

    Args:
      prior_scale: multiplies every prior standard deviation of the model; 2 is a prior twice as wide.

    Source: MacKay 1992, A practical Bayesian framework for backpropagation networks.

    >>> map(prior_scale=2.0).settings
    {'prior_scale': 2.0}
    """

    def update(network: base.Network, state: point.State, batch: base.Batch, seed: Tensor, rate: Tensor) -> tuple[point.State, Tensor]:
        return point.update(network, state, batch, rate, prior_scale=prior_scale)

    settings = {"prior_scale": prior_scale}
    return base.Posterior("map", settings, 1, point.init, update, base.unfinished, point.sample, point.outputs, point.extras)
