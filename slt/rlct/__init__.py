"""(λ, m) of analytic potentials: `estimate_rlct`."""
