"""Read and write slices as files: one format a module."""
