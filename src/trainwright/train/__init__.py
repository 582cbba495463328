"""The loop, its batches and its schedule: all pure functions of (plan, step)."""
