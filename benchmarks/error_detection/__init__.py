"""How well attention finds the errors of labels: planted ones, and those of the project's own networks."""
