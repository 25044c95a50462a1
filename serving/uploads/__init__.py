"""Slices that come in: received, read and measured in a process of their own."""
