"""`python -m diffeo` is the command `diffeo`."""

from .cli import main

main()
