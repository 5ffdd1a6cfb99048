"""`slt diagnose`: what a run's draws say of it, and how that is told."""
