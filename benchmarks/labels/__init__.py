"""Labels, speed and memory: every step that is no network, against what people run today, beside it in one run."""
