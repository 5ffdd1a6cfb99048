"""The learning coefficient of a model: `estimate_llc`, from trace to number to verdict."""
