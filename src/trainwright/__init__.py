"""Trainwright: text to a language model that can be re-derived and checked. Start reading at `pipeline.py`."""

__version__ = "0.1.0"
