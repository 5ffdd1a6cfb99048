"""Transitions of a training run: `find_transitions`."""
