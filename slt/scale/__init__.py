"""How λ̂ depends on β and γ: curves, comparisons, ladders of scales."""
