"""Options that mean something only beside another one: refused where they would be ignored."""

import typer

from spect.errors import ConfigurationError


def refuse_given(context: typer.Context, *names: str, reason: str) -> None:
    """Raise `ConfigurationError` where an option was given, even with its default value, that nothing would heed.

    Parameters
    ----------
    context
        Of the command, which knows what was given.
    names
        Of the command's parameters; each is said as its option.
    reason
        Why it would be ignored, and what to do: ends the sentence.
    """
    given = [parameter.opts[0] for parameter in context.command.params if _is_given(context, parameter.name, names)]
    if given:
        raise ConfigurationError(f"{' and '.join(given)} would be ignored: {reason}")


def _is_given(context: typer.Context, name: str | None, names: tuple[str, ...]) -> bool:
    source = context.get_parameter_source(name) if name in names else None
    return source is not None and source.name not in {"DEFAULT", "DEFAULT_MAP"}
