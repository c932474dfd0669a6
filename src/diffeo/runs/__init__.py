"""What any long job needs on disk and from the system. Other rooms import it from here alone.

A run has a folder, which one process at a time may use (`lock_folder`). `begin_run` writes there
what the run is made from, with a `fingerprint` of its data, and refuses to resume with anything
else. `write_checkpoint` and `read_checkpoint` keep its state, `MetricsLog` its figures.
`stop_on_signals` turns signals into a request to save and stop, and `Processes` says which of
several processes this is. Files that must be whole or absent are written by `core.files`, which
`store` and the kernels use too.
"""

from .checkpoint import read_checkpoint, write_checkpoint
from .fingerprints import fingerprint
from .lock import lock_folder
from .manifest import begin_run, recorded_settings
from .metrics import MetricsLog
from .processes import Processes
from .signals import StopRequest, stop_on_signals

__all__ = [
    "MetricsLog",
    "Processes",
    "StopRequest",
    "begin_run",
    "fingerprint",
    "lock_folder",
    "read_checkpoint",
    "recorded_settings",
    "stop_on_signals",
    "write_checkpoint",
]
