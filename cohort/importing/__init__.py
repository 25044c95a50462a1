"""Scans of anyone's own, read, labelled, de-identified and reported on."""
