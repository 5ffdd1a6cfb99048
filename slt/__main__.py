"""`python -m slt` is `slt`."""

from slt.cli import main

main()
