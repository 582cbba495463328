"""Bytes and rows: content-addressed objects, token shards, checkpoints, run folders, the ledger that indexes them."""
