"""Predictions: a CT is brought to the network grid, Triton is asked, and the answer is recorded in storage."""
