"""The first fault that pydantic finds in a file, a request or a setting, in words that a user can act on."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

_LONGEST_INPUT = 60  # characters of what was got
_IN_FILES = {None: "null", True: "true", False: "false"}  # what JSON and its kin write, and not Python

Place = Sequence[int | str]


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def describe_fault(
    error: ValidationError,
    *,
    name: Callable[[Place], str] = _dotted,
    whole: str = "it",
    is_secret: Callable[[str], bool] = lambda _where: False,
) -> str:
    """Return where the first fault is, what is wanted and what was got: "seed must be a valid integer, got 'x'".

    Parameters
    ----------
    name
        Turns a place into words.
    whole
        Is the name of all of it.
    is_secret
        Whether what was got there is left out; asked by the place's name.
    """
    first = error.errors(include_url=False)[0]
    where = name(first["loc"])
    kind, message = first["type"], first["msg"]
    got = "" if is_secret(where) else f", got {_shorten(first['input'])}"
    if kind == "json_invalid":
        return f"not JSON ({message.removeprefix('Invalid JSON: ')})"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is unknown here"
    if kind == "value_error":  # of our own validators, whose sentences say what they got
        said = message.removeprefix("Value error, ")
        return said if said.startswith(where) else f"{where}: {said}"
    if kind in {"model_type", "model_attributes_type"}:  # pydantic names the class
        return f"{where or whole} must be an object{got}"
    wanted = message.partition(", unable to parse")[0].partition(" after validation")[0].partition(" should ")[2]
    what = f"{where or whole} must {wanted}" if wanted else f"{where or whole} is wrong ({message})"
    return what + got


def _shorten(value: object) -> str:
    text = _IN_FILES[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_INPUT else f"{text[:_LONGEST_INPUT]}..."
