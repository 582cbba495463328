"""Frameworks behind one protocol. Each is one file, imported only when a plan asks for it."""
