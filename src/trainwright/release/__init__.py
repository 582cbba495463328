"""Policies, gates and what moves a ref: whether a model may stand where it is asked to stand."""
