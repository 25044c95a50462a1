"""A simulated population: brains, blood flow, disease, and the camera that sees them."""
