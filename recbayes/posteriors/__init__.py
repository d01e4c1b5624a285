"""What the network is sure of: one file a method. See README.md in this folder."""

from recbayes.posteriors.base import Batch, Network, Posterior
from recbayes.posteriors.ensemble import ensemble
from recbayes.posteriors.epinet import epinet
from recbayes.posteriors.last_layer import last_layer
from recbayes.posteriors.map import map
from recbayes.posteriors.mc_dropout import mc_dropout
from recbayes.posteriors.mean_field import mean_field
from recbayes.posteriors.mle import mle
from recbayes.posteriors.neural_linear import neural_linear
from recbayes.posteriors.nuts import nuts
from recbayes.posteriors.sgld import sgld

__all__ = [
    "Batch",
    "Network",
    "Posterior",
    "ensemble",
    "epinet",
    "last_layer",
    "map",
    "mc_dropout",
    "mean_field",
    "mle",
    "neural_linear",
    "nuts",
    "sgld",
]
