"""Small worlds for the tests of this room."""

import numpy as np
import pandas as pd
import tensorflow as tf

import recbayes as rb
from recbayes.densities import BetaMixture, GroupEffect


def log(clicks, impressions, groups, **columns):
    """A log of arms, one row each."""
    frame = pd.DataFrame({"clicked": np.asarray(clicks), "shown": np.asarray(impressions), "page": np.asarray(groups), **columns})
    roles = {"item": "item"} if "item" in columns else {}
    features = [name for name in columns if name not in ("item",)]
    return rb.read_log(frame, clicks="clicked", impressions="shown", group="page", features=features, **roles)


def pages(groups=12, seed=0, impressions=(300, 600), rate=0.05, arms=(2, 5)):
    """A log of groups of two to five arms with rates that differ by page and arm."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(arms[0], arms[1] + 1, groups)
    page = np.repeat(np.arange(groups), sizes)
    logits = np.log(rate) + rng.normal(0, 0.5, groups)[page] + rng.normal(0, 0.3, len(page))
    shown = rng.integers(*impressions, len(page))
    return log(rng.binomial(shown, 1 / (1 + np.exp(-logits))), shown, page)


class Model:
    """A fitted model, as far as replay looks: densities that differ between weight draws, and a page effect."""

    def __init__(self, tau=0.5, concentrations=(60.0, 600.0), common=0.1, apart=0.05, rate=0.05):
        self.group_effect = None if tau is None else GroupEffect(tf.constant(tau))
        self.concentrations, self.common, self.apart, self.rate = concentrations, common, apart, rate

    def densities(self, rows, *, draws, seed):
        rng = np.random.default_rng(seed)
        segments, groups = rows.segments
        n, components = len(rows), len(self.concentrations)
        logits = np.log(self.rate) + rng.normal(0, 0.2, n) + self.common * rng.normal(size=(draws, groups))[:, segments]
        logits = logits + self.apart * rng.normal(size=(draws, n))
        shape = (draws, n, components)
        weights = np.full(shape, -np.log(components))
        means = np.broadcast_to(1 / (1 + np.exp(-logits))[..., None], shape)
        return BetaMixture(*(tf.constant(x, tf.float32) for x in (weights, means, np.broadcast_to(self.concentrations, shape))))
