"""From a log density to a posterior."""

from ..supports import ordered
from .chains.convergence import ess_bulk, ess_tail, rhat
from .chains.hmc import hmc_step
from .chains.mcmc import Chains, latent_chains
from .infer import infer
from .modes.laplace import Laplace, all_found, laplace
from .modes.smc import Populations, Reference, tempered_smc
from .modes.survey import Survey, survey
from .objectives.annealing import Annealed
from .objectives.divergences import (
    AlphaDivergence,
    ForwardKL,
    ImportanceWeighted,
    Jeffreys,
    ReverseKL,
    VariationalObjective,
)
from .objectives.fab import FAB
from .posterior import Attempt, Posterior
from .target.from_pyro import PyroTarget, from_pyro
from .target.space import Parameter, Space
from .target.target import Target
from .weights.diagnostics import Diagnostics, diagnose, disagree, gradient_snr, lost_modes, verdict
from .weights.psis import pareto_k

__all__ = [
    "FAB",
    "AlphaDivergence",
    "Annealed",
    "Attempt",
    "Chains",
    "Diagnostics",
    "ForwardKL",
    "ImportanceWeighted",
    "Jeffreys",
    "Laplace",
    "Parameter",
    "Populations",
    "Posterior",
    "PyroTarget",
    "Reference",
    "ReverseKL",
    "Space",
    "Survey",
    "Target",
    "VariationalObjective",
    "all_found",
    "diagnose",
    "disagree",
    "ess_bulk",
    "ess_tail",
    "from_pyro",
    "gradient_snr",
    "hmc_step",
    "infer",
    "laplace",
    "latent_chains",
    "lost_modes",
    "ordered",
    "pareto_k",
    "rhat",
    "survey",
    "tempered_smc",
    "verdict",
]
