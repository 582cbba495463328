"""Readers of a run's event stream: console progress, training_metrics.json, report and plots."""
