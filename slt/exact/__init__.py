"""Exact learning coefficients and multiplicities, as fractions."""

from slt.exact import families as families
from slt.exact.newton import newton as newton
from slt.exact.plane_curve import plane_curve as plane_curve
from slt.exact.polynomial import parse_polynomial as parse_polynomial
from slt.exact.rlct import RLCT as RLCT
