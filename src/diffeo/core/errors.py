"""`diffeo.errors` under the name that the rooms import."""

from ..errors import *  # noqa: F403
