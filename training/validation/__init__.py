"""Measure a released generator against scans it never saw: one metric a module."""
