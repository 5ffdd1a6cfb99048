"""Exact learning coefficients and multiplicities."""

from slt.exact.rlct import RLCT as RLCT
