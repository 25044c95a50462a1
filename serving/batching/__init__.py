"""Many requests, one generator: micro-batches counted in slices."""
