"""A released bundle on disk: found, verified on every load, written atomically.

Three kinds of directory hold one: the bundle itself (`manifest.json` inside), a pair (`bundle/` and `promotion.json`),
and a followed directory, whose `current` is a symbolic link to a pair that is switched atomically.
"""

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from registry.bundle.graph import check_graph_file
from registry.bundle.manifest import (
    CARD_NAME,
    GENERATOR_NAME,
    MANIFEST_NAME,
    PANEL_NAME,
    PROFILE_NAME,
    Manifest,
    check_file_name,
    check_manifest_there,
    load_manifest,
)
from registry.bundle.panel import Panel, load_panel
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, load_promotion_note
from spect.errors import BundleError
from spect.faults import describe_fault

BUNDLE_NAME = "bundle"
CURRENT_NAME = "current"
UNREGISTERED = "unregistered"
_REQUIRED = (GENERATOR_NAME, PROFILE_NAME, CARD_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose every file has just been verified."""

    path: Path
    manifest: Manifest
    panel: Panel | None
    card: str
    sha256: str  # of generator.onnx
    manifest_sha256: str  # names the whole bundle: the manifest holds the digest of every other file
    promotion: PromotionNote | None = None
    generator_name: str = GENERATOR_NAME

    @property
    def version(self) -> str:
        """Version in the registry, or "unregistered"."""
        return self.promotion.version if self.promotion else UNREGISTERED

    @property
    def generator_path(self) -> Path:
        """The ONNX file."""
        return self.path / self.generator_name

    @property
    def profile_path(self) -> Path:
        """The reference profile."""
        return self.path / PROFILE_NAME


def compute_sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_pair(directory: Path) -> Path | None:
    """Return the pair a followed directory points to now, resolved once, or the pair itself; None for a bare bundle."""
    current = directory / CURRENT_NAME
    if current.is_symlink() or current.is_dir():
        return current.resolve()
    return directory if (directory / BUNDLE_NAME).is_dir() else None


def load_bundle(directory: Path | str) -> Bundle:
    """Verify a bundle, a pair or a followed directory; raise `BundleError` with the first thing wrong.

    Every listed file must be there with its sha256, nothing else may be, and the graph is one that may be released.
    """
    directory = Path(directory)
    try:
        pair = find_pair(directory)
        if pair is None:
            return _load_verified(directory, promotion=None)
        return _load_verified(pair / BUNDLE_NAME, promotion=load_promotion_note(pair / PROMOTION_NAME))
    except OSError as error:
        raise BundleError(
            f"{error.filename or directory} cannot be read ({error.strerror}); check its owner"
        ) from error


def _load_verified(path: Path, promotion: PromotionNote | None) -> Bundle:
    if not path.is_dir():
        raise BundleError(f"{path} is not a bundle directory; give the directory that holds {MANIFEST_NAME}")
    check_manifest_there(path / MANIFEST_NAME)  # a tree that is no bundle is not walked
    _check_plain(path)
    manifest = load_manifest(path / MANIFEST_NAME)
    _check_names(path, manifest.files)
    for name, expected in manifest.files.items():
        actual = compute_sha256(path / name)
        if actual != expected:
            raise BundleError(
                f"{path / name} has sha256 {actual[:12]}, manifest says {expected[:12]}; use a copy that is whole"
            )
    check_graph_file(path / GENERATOR_NAME, manifest.files[GENERATOR_NAME])
    return Bundle(
        path=path,
        manifest=manifest,
        panel=load_panel(path / PANEL_NAME) if PANEL_NAME in manifest.files else None,
        card=_read_card(path / CARD_NAME),
        sha256=manifest.files[GENERATOR_NAME],
        manifest_sha256=compute_sha256(path / MANIFEST_NAME),
        promotion=promotion,
    )


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"{path} is not UTF-8 text; release the model again") from None


def _check_plain(path: Path) -> None:
    """Refuse links, pipes and devices: what is read is what lies here, and reading it ends."""
    for entry in sorted(path.rglob("*")):
        kind = entry.lstat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            what = "a symbolic link" if stat.S_ISLNK(kind) else "no plain file"
            raise BundleError(f"{entry} is {what}, and a bundle holds plain files only; use a copy that is whole")


def _check_names(path: Path, listed: Mapping[str, str]) -> None:
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    if missing := sorted({*_REQUIRED, *listed} - present):
        raise BundleError(f"{path} lacks {', '.join(missing)}; use a copy that is whole")
    if unlisted := sorted(set(_REQUIRED) - set(listed)):
        raise BundleError(f"{path / MANIFEST_NAME} lists no digest of {', '.join(unlisted)}; release the model again")
    if unexpected := sorted(present - {*listed, MANIFEST_NAME}):
        raise BundleError(f"{path} holds {', '.join(unexpected)}, which its manifest does not list; remove it")
    needed = {parent.as_posix() for name in present for parent in PurePosixPath(name).parents}
    folders = {folder.relative_to(path).as_posix() for folder in path.rglob("*") if folder.is_dir()}
    if empty := sorted(folders - needed):
        raise BundleError(f"{path} holds the empty directory {', '.join(empty)}, which no bundle has; remove it")


def write_bundle(files: Mapping[str, bytes | Path], manifest: Mapping[str, Any], destination: Path) -> Bundle:
    """Write a bundle that appears at its destination whole, or not at all, and return it verified.

    Parameters
    ----------
    files
        Content, or a file to copy, by name relative to the bundle ("figures/samples.png" is allowed).
    manifest
        The fields of `Manifest` except `files`, which is computed here.
    destination
        A directory that does not exist yet.

    Raises
    ------
    BundleError
        If the destination exists, a name is none of a bundle's, or manifest or graph are not valid.
    """
    if destination.exists():
        raise BundleError(f"{destination} exists, and a bundle is never changed; remove it or choose another place")
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = destination.parent / f".{destination.name}.{uuid.uuid4().hex[:8]}"
    try:
        digests = {name: _write_file(staging, name, content) for name, content in files.items()}
        _write_manifest(staging / MANIFEST_NAME, {**manifest, "files": digests})
        load_bundle(staging)
        staging.rename(destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return load_bundle(destination)


def _write_file(staging: Path, name: str, content: bytes | Path) -> str:
    check_file_name(name)
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, target)
    else:
        target.write_bytes(content)
    return compute_sha256(target)


def _write_manifest(path: Path, fields: Mapping[str, Any]) -> None:
    try:
        manifest = Manifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(f"the manifest cannot be written: {describe_fault(error)}; release the model again") from None
    with path.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
