"""From a log density to a posterior."""

from .annealing import Annealed
from .convergence import ess_bulk, ess_tail, rhat
from .diagnostics import Diagnostics, diagnose, disagree, gradient_snr, lost_modes, verdict
from .fab import FAB
from .from_pyro import PyroTarget, from_pyro
from .infer import infer
from .laplace import Laplace, all_found, laplace
from .mcmc import Chains, hmc_step, latent_chains
from .objectives import (
    AlphaDivergence,
    ForwardKL,
    ImportanceWeighted,
    Jeffreys,
    ReverseKL,
    VariationalObjective,
)
from .posterior import Attempt, Posterior
from .psis import pareto_k
from .smc import Populations, Reference, tempered_smc
from .space import Parameter, Space
from .supports import ordered
from .survey import Survey, survey
from .target import Target

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
