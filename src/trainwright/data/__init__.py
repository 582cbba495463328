"""From a source (builtin, file, folder, URL) to an immutable DatasetVersion with splits that do not leak."""
