"""MLflow opened, and asked, so that it fails soon and in one sentence, says little and sends nothing home."""

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spect.errors import AddressError, PermissionDeniedError, RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
_DATABASE_SERVERS = ("postgresql", "mysql")
_CONNECT_SECONDS = 10
_ADDRESS = re.compile(r"https?://|sqlite:///|(postgresql|mysql|mssql)(\+\w+)?://")
_ADDRESSES = "http(s)://HOST:PORT, sqlite:////PATH/mlflow.db or postgresql+psycopg2://USER@HOST/DATABASE"
_SQLITE_HEADER = b"SQLite format 3\0"
_LONGEST_REASON = 300  # characters
_NAME_A_SERVER = "set MLFLOW_TRACKING_URI to the address of an MLflow server"
# The last: what a driver quotes of an address whose password holds an @ itself.
_USER = re.compile(r"(?<!sqlite:)(?<!/)//\S*@|(?<![\w/])[^\s/:@]+:(?!//)\S*@|(?<![^\s\"'(])[^\s/\"']+@")
_QUERY_VALUE = re.compile(r"([?&][^=\s&]+)=[^&\s]*")

_UNAUTHORISED, _FORBIDDEN = "error code 401", "error code 403"
# In MLflow's words: what went wrong, and what to do where the caller does not know it better.
_KNOWN = (
    (
        _FORBIDDEN,
        "it refuses (403)",
        "ask for the permission, or start it with --allowed-hosts that names this address",
    ),
    ("not in a valid JSON format", "what answers there is not MLflow, for it answers no JSON object", _NAME_A_SERVER),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to the authority's",
    ),
    (
        "Can't load plugin: sqlalchemy.dialects",
        "no driver has the name behind the +",
        "write postgresql+psycopg2://... or mysql+pymysql://...",
    ),
    ("Max retries exceeded", "it does not answer", None),
    ("timed out", "it does not answer", None),
)

# MLflow's defaults retry for minutes. A registry that is away is said at once; serving does not wait for it.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # MLflow's onnx flavour imports ONNX Runtime
}


@contextmanager
def translated_errors(uri: str, *, advice: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one `RegistryError` that ends in the advice."""
    try:
        from google.protobuf.json_format import (  # type: ignore[import-untyped]  # noqa: PLC0415 — comes with MLflow
            Error as AnswerError,
        )
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow takes seconds to import
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 — comes with MLflow
    except ModuleNotFoundError as error:
        raise RegistryError(f"{error.name} is not installed; pip install 'synspect[registry]'") from error
    try:
        yield
    except (MlflowException, SQLAlchemyError, AnswerError, ImportError, OSError, ValueError) as error:
        what, do = _explain(error)
        kind = PermissionDeniedError if _FORBIDDEN in str(error) else RegistryError
        raise kind(f"MLflow at {public_uri(uri)} cannot be used: {what}; {do or advice}") from error


def open_client(uri: str) -> "MlflowClient":
    """Open MLflow so that it fails soon, says little and sends nothing home."""
    check_address(uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415 — after the environment is set: MLflow reads it when imported

    for noisy in ("mlflow", "alembic", "urllib3"):  # what they warn of and try again ends in an error, or in nothing
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # raises what it logs, traceback and all
    if uri.startswith(SQLITE):
        _create_database(Path(uri.removeprefix(SQLITE)))
    elif uri.startswith(_DATABASE_SERVERS):
        _check_answers(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def check_address(uri: str) -> None:
    """Raise `AddressError` for what no registry could be reached by, whatever is started; nothing is opened."""
    if not _ADDRESS.match(uri):
        raise AddressError(f"{public_uri(uri)!r} is no address of a registry; set MLFLOW_TRACKING_URI to {_ADDRESSES}")
    if uri.startswith(SQLITE):
        _check_database(Path(uri.removeprefix(SQLITE)))


def _check_database(path: Path) -> None:
    """Refuse what SQLite would refuse only after MLflow has asked it for minutes, or in words about a server."""
    if path.is_dir():
        raise AddressError(f"{path} is a directory; set MLFLOW_TRACKING_URI to {SQLITE}{path / 'mlflow.db'}")
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
    except OSError:  # not there yet, or the opening says why
        return
    if header not in {b"", _SQLITE_HEADER}:
        raise AddressError(
            f"{path} is a file, and no SQLite database; set MLFLOW_TRACKING_URI to one, or to a file to be made"
        )


def _check_answers(uri: str) -> None:
    """Knock at a database once: MLflow knocks for a minute and a half, and says so each time."""
    import sqlalchemy  # noqa: PLC0415 — comes with MLflow

    engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": _CONNECT_SECONDS})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _create_database(path: Path) -> None:
    """Make MLflow's tables under another name first: cut off in between, they could never be completed."""
    if path.exists():
        return
    from mlflow import MlflowClient  # noqa: PLC0415 — MLflow takes seconds to import

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as staging:
        made = Path(staging) / path.name
        uri = f"{SQLITE}{made}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models(max_results=1)
        with suppress(FileExistsError):  # another process made it meanwhile
            os.link(made, path)


def make_default(uri: str) -> None:
    """Make an address the one that this process asks where no client is named."""
    # MLflow's own registry on a database looks for the logged model at the process-wide address, not at its client's.
    import mlflow  # noqa: PLC0415 — MLflow takes seconds to import

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


@contextmanager
def made_meanwhile() -> Iterator[None]:
    """Pass where another process made the same thing in between."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 — MLflow takes seconds to import

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def check_answer(uri: str, what: str, *, asked: str, got: str) -> None:
    """Raise `RegistryError` where what came is not what was asked for: some other service answers JSON at the address.

    MLflow's client takes any JSON object for an answer, and leaves what it does not find in it empty.
    """
    if got.casefold() != asked.casefold():  # some databases do not tell them apart
        raise RegistryError(
            f"what answers at {public_uri(uri)} is not MLflow: asked for the {what} {asked!r}, got "
            f"{f'that of {got!r}' if got else 'one without a name'}; {_NAME_A_SERVER}"
        )


def public_uri(text: str) -> str:
    """Return a URI, or words that hold one, without user, password and the values of its query.

    Everything up to the last @ goes: a password may hold any character, written as it should not be.
    """
    return _QUERY_VALUE.sub(r"\1=...", _USER.sub(lambda found: "//" if found[0].startswith("//") else "", text))


def _explain(error: BaseException) -> tuple[str, str | None]:
    """Return in one line what went wrong, and what to do where that is known better than by the caller."""
    text = str(error).strip()
    if isinstance(error, ImportError) and "psycopg" in text:
        return "the driver is missing", "pip install psycopg2-binary, and write the address postgresql+psycopg2://..."
    if isinstance(error, ImportError) and error.name:
        return f"the driver {error.name} is missing", "install it, or write one that is installed into the address"
    if _UNAUTHORISED in text:
        return _explain_unauthorised()
    for words, what, do in _KNOWN:
        if words in text:
            return what, do
    return _shorten(public_uri(text.splitlines()[0] if text else type(error).__name__)), None


def _explain_unauthorised() -> tuple[str, str]:
    from mlflow.utils.credentials import read_mlflow_creds  # noqa: PLC0415 — MLflow takes seconds to import

    given = read_mlflow_creds().username
    if not given:
        return "it wants a user and a password", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return (
        f"it does not know the user {given!r} by this password",
        "mend MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials",
    )


def _shorten(text: str) -> str:
    """Cut between two words, and show that more was said."""
    if len(text) <= _LONGEST_REASON:
        return text
    return f"{text[:_LONGEST_REASON].rpartition(' ')[0] or text[:_LONGEST_REASON]} ..."
