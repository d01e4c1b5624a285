"""Families of distributions of one row's click rate, and the effect that a group's rows share. See README.md in this folder."""

from recbayes.densities.beta_mixture import BetaMixture, beta_mixture
from recbayes.densities.family import Density, Family
from recbayes.densities.gaussian_mixture import GaussianMixture, gaussian_mixture
from recbayes.densities.group_effect import GroupEffect, GroupPosterior
from recbayes.densities.logit_normal_mixture import LogitNormalMixture, logit_normal_mixture
from recbayes.densities.point import Point, point

__all__ = [
    "BetaMixture",
    "Density",
    "Family",
    "GaussianMixture",
    "GroupEffect",
    "GroupPosterior",
    "LogitNormalMixture",
    "Point",
    "beta_mixture",
    "gaussian_mixture",
    "logit_normal_mixture",
    "point",
]
