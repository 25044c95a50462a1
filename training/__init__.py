"""Learn a generator from a cohort, and prove it."""
