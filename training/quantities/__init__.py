"""The quantities that slices are asked for by: measured, fitted, drawn."""
