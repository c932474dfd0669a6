# The public names, one a line. Type checkers read this file as a stub; __init__.py reads it to know
# what to import when a name is first used.
from . import bases as bases
from . import conditioners as conditioners
from . import data as data
from . import errors as errors
from . import inference as inference
from . import latents as latents
from . import layers as layers
from . import maps as maps
from . import models as models
from . import partitions as partitions
from . import training as training
from .checkup import check as check
from .core.chain import Chain as Chain
from .core.distribution import Distribution as Distribution
from .core.transform import Inverse as Inverse
from .core.transform import Transform as Transform
from .data import read_images as read_images
from .data import read_table as read_table
from .estimator import FlowEstimator as FlowEstimator
from .flow import Flow as Flow
from .inference.infer import infer as infer
from .store import load as load
from .store import save as save
from .training.fit import fit as fit

__version__: str
