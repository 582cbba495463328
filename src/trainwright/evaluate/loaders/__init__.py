"""Public benchmarks in the files that their authors publish, as evaluation items: one file for each form."""
