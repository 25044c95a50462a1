"""The first fault that pydantic finds in a file or a setting, in words that a user can act on."""

from pydantic import ValidationError

_LONGEST_INPUT = 60  # characters of what was got


def describe_fault(error: ValidationError) -> str:
    """Return where the first fault is, what is wanted and what was got: "seed must be a valid integer, got 'x'"."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    kind, message = first["type"], first["msg"]
    if kind == "json_invalid":
        return f"not JSON ({message.removeprefix('Invalid JSON: ')})"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is unknown here"
    if kind == "value_error":  # of our own validators, whose sentences say what they got
        said = message.removeprefix("Value error, ")
        return said if said.startswith(where) else f"{where}: {said}"
    if kind == "model_type":  # pydantic names the class
        return f"{where or 'it'} must be an object, got {_shorten(first['input'])}"
    wanted = message.partition(", unable to parse")[0].partition(" should ")[2]
    what = f"{where or 'it'} must {wanted}" if wanted else f"{where or 'it'} is wrong ({message})"
    return f"{what}, got {_shorten(first['input'])}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}..."
