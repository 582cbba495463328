"""Readers of a run's event stream: console, watching, comparison, training_metrics.json, report, plots, trackers."""
