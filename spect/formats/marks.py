"""What every picture of slices says of them, by where they come from."""

MARKS = {
    "synthetic": "SYNTHETIC - research use only, never for diagnosis",
    "simulated": "SIMULATED - research use only, never for diagnosis",
    "acquired": "ACQUIRED, de-identified - research use only",
}
