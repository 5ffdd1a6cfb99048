"""Exact learning coefficients and multiplicities, as fractions."""
