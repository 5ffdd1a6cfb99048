"""Every claim about accuracy, speed and memory as a script; `python -m benchmarks --list`."""

# Each is the module benchmarks/NAME.py, in the order of the page; see benchmarks/harness.py for what such a module has.
NAMES: tuple[str, ...] = (
    "llc_accuracy",
    "time_to_accuracy",
    "peer_accuracy",
    "coverage",
    "linear_regime",
    "free_energy",
    "rlct_accuracy",
    "polynomial_networks",
    "basin_volume",
    "polynomial_machine",
    "deep_linear_llc",
    "deep_linear_samplers",
    "sampler_ordering",
    "superposition_polygons",
    "superposition_crossing",
    "superposition_training",
    "grokking",
    "transitions",
    "online_detection",
    "series_speed",
    "tracker_overhead",
    "throughput",
    "peer_features",
    "memory",
)
