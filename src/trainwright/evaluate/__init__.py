"""What a checkpoint is worth: held-out likelihood, samples, and what inference costs."""
