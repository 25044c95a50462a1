"""What the service makes, held against its reference."""
