"""Training and tuning: cases in, a new model version with its curves and its comparison out (docs/training.md)."""
