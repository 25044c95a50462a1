"""The pictures of a validation."""
