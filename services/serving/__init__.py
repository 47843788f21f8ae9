"""What runs inside Triton and in training: networks, their cards, the sliding window, the training command."""
