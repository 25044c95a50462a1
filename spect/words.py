"""Words for numbers of things, as tables, pictures and reports say them."""


def in_number(count: int, noun: str) -> str:
    """Say "1 patient", "2 patients"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
