"""What serving costs: our sliding window against MONAI's, whole volumes through Triton against patches."""
