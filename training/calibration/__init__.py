"""Bring a generator's output to what training slices have in common."""
