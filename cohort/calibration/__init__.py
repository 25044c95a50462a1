"""The simulator held against published numbers, target by target."""
