"""Policies: what is known of the candidates' click rates into probabilities over them. See README.md in this folder."""

from recbayes.policies.base import Policy
from recbayes.policies.boltzmann import boltzmann
from recbayes.policies.choose import choose
from recbayes.policies.epsilon_greedy import epsilon_greedy
from recbayes.policies.greedy import greedy
from recbayes.policies.knowledge_gradient import knowledge_gradient
from recbayes.policies.quantile_ucb import quantile_ucb
from recbayes.policies.shares import best_share, with_floor
from recbayes.policies.slate import Slate, slate
from recbayes.policies.square_cb import square_cb
from recbayes.policies.thompson import thompson
from recbayes.policies.ucb import ucb
from recbayes.policies.uniform import uniform

__all__ = [
    "Policy",
    "Slate",
    "best_share",
    "boltzmann",
    "choose",
    "epsilon_greedy",
    "greedy",
    "knowledge_gradient",
    "quantile_ucb",
    "slate",
    "square_cb",
    "thompson",
    "ucb",
    "uniform",
    "with_floor",
]
