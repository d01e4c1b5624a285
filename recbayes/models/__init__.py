"""Networks that output a density's parameters. See README.md in this folder."""

from recbayes.models.ddn import Builder, ddn
from recbayes.models.linear import linear
from recbayes.models.mlp import mlp
from recbayes.models.prior import prior_stddevs

__all__ = ["Builder", "ddn", "linear", "mlp", "prior_stddevs"]
