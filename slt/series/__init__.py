"""Series of checkpoints: found, planned, estimated, followed during training."""
