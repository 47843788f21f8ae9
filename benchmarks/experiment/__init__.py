"""The loop, proven: simulated campaigns under a shift of hospitals, with every acquisition function, round by round."""
