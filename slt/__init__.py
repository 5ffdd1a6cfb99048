"""Singular learning theory for trained networks: local learning coefficients with honest errors."""
