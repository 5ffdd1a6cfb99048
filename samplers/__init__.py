"""Localized, tempered MCMC over network weights. Knows nothing of learning coefficients."""
