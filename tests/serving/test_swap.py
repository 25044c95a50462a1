"""Changing over to another bundle: verified, warmed up, counted; a broken one is refused and the old one stays."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from registry.bundle.directory import Bundle
from registry.bundle.generator import is_gpu_plausible
from registry.bundle.promotion_note import PROMOTION_NAME, PromotionNote, save_promotion_note
from registry.bundle.served_model import ServedModel, open_model
from serving.problems import NotReadyError
from serving.swap import ModelSlot
from spect.conditions import CONDITIONS
from spect.errors import BundleError, DeviceError
from tests.support.followed_directory import make_pair, switch
from tests.support.tiny_bundle import build_tiny_bundle


class Reloads:
    def __init__(self) -> None:
        self.results: list[str] = []
        self.models: list[dict[str, str]] = []

    def count_reload(self, result: str) -> None:
        self.results.append(result)

    def set_model(self, **labels: str) -> None:
        self.models.append(labels)


def make_slot(directory: Path) -> tuple[ModelSlot, Reloads]:
    reloads = Reloads()
    return ModelSlot(directory, reloads, open_model=open_model), reloads


def test_an_empty_directory_is_not_ready_until_a_bundle_appears(tmp_path: Path) -> None:
    slot, reloads = make_slot(tmp_path)
    assert not slot.refresh()
    assert slot.is_waiting
    with pytest.raises(NotReadyError, match="no model is served; the server's log says"):
        slot.current()
    switch(tmp_path, make_pair(tmp_path, "a", version="3"))
    assert slot.refresh()
    assert slot.current().version == "3"
    assert not slot.is_waiting
    assert reloads.models[0]["promotion"] == "gates"
    assert reloads.results == []


def test_a_new_pair_is_taken_up_and_the_old_generator_goes_on(tmp_path: Path) -> None:
    switch(tmp_path, make_pair(tmp_path, "a", version="1"))
    slot, reloads = make_slot(tmp_path)
    slot.refresh()
    old = slot.current()
    before = old.generator.generate(CONDITIONS[0], seed=1).counts
    switch(tmp_path, make_pair(tmp_path, "b", version="2", output_gain=0.9, promotion="override"))
    assert slot.refresh()
    shutil.rmtree(tmp_path / "pairs" / "a")
    assert slot.current().version == "2"
    assert slot.current().promotion == "override"
    assert reloads.results == ["swapped"]
    np.testing.assert_array_equal(old.generator.generate(CONDITIONS[0], seed=1).counts, before)
    assert not np.array_equal(slot.current().generator.generate(CONDITIONS[0], seed=1).counts, before)
    assert not slot.refresh()


def test_a_bundle_that_is_taken_away_is_told_once_and_goes_on_answering(tmp_path: Path) -> None:
    switch(tmp_path, make_pair(tmp_path, "a", version="1"))
    slot, reloads = make_slot(tmp_path)
    slot.refresh()
    (tmp_path / "pairs").rename(tmp_path / "elsewhere")
    for _ in range(3):
        assert not slot.refresh()
    assert (slot.current().version, reloads.results) == ("1", ["refused"])
    assert "holds no bundle" in slot.reason
    (tmp_path / "elsewhere").rename(tmp_path / "pairs")
    assert slot.refresh()
    assert (slot.current().version, slot.reason) == ("1", "")


def test_a_broken_bundle_is_refused_once_and_the_old_one_stays(tmp_path: Path) -> None:
    switch(tmp_path, make_pair(tmp_path, "a", version="1"))
    slot, reloads = make_slot(tmp_path)
    slot.refresh()
    broken = make_pair(tmp_path, "b", version="2", output_gain=0.9)
    with (broken / "bundle" / "generator.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\xff")
    switch(tmp_path, broken)
    for _ in range(3):
        assert not slot.refresh()
    assert slot.current().version == "1"
    assert reloads.results == ["refused"]
    assert "sha256" in slot.reason


class GraphError(Exception):
    """Like ONNX Runtime's errors, which derive from Exception alone."""


def test_the_watcher_outlives_any_failure_and_tries_that_bundle_again(tmp_path: Path, caplog) -> None:
    switch(tmp_path, make_pair(tmp_path, "a", version="1"))
    failures: list[Exception] = [GraphError("no memory\nleft"), MemoryError()]

    def open_after_failures(directory: Path) -> ServedModel:
        if failures:
            raise failures.pop(0)
        return open_model(directory)

    reloads = Reloads()
    slot = ModelSlot(tmp_path, reloads, open_model=open_after_failures)

    async def watch_until_ready() -> None:
        watcher = asyncio.create_task(slot.watch(0.01))
        async with asyncio.timeout(120):
            while not slot.is_ready and not watcher.done():
                await asyncio.sleep(0.01)
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher

    asyncio.run(watch_until_ready())
    assert slot.current().version == "1"
    assert reloads.results == ["refused", "refused"]
    assert "bundle refused: no memory left" in caplog.text
    assert "Traceback" in caplog.text


def test_a_bundle_that_cannot_be_opened_is_tried_again_after_ever_longer_pauses(tmp_path: Path) -> None:
    switch(tmp_path, make_pair(tmp_path, "a", version="1"))
    tries: list[Path] = []

    def fail(directory: Path) -> ServedModel:
        tries.append(directory)
        raise DeviceError("no GPU")

    slot = ModelSlot(tmp_path, Reloads(), open_model=fail)
    for _ in range(10):
        assert not slot.refresh()
    assert len(tries) == 2  # at once, then after a second
    switch(tmp_path, make_pair(tmp_path, "b", version="2"))
    slot.refresh()
    assert len(tries) == 3


def test_a_first_bundle_that_is_refused_is_counted(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundle", profile=b"{}")
    slot, reloads = make_slot(tmp_path / "bundle")
    assert not slot.refresh()
    assert reloads.results == ["refused"]


def test_a_note_written_later_changes_what_is_said_of_the_version(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "a", version="1")
    switch(tmp_path, pair)
    slot, _ = make_slot(tmp_path)
    slot.refresh()
    save_promotion_note(PromotionNote(version="1", promotion="outside"), pair / PROMOTION_NAME)
    assert slot.refresh()
    assert slot.current().promotion == "outside"


def test_a_bundle_with_an_unusable_profile_is_refused(tmp_path: Path) -> None:
    build_tiny_bundle(tmp_path / "bundle", profile=b"{}")
    with pytest.raises(BundleError, match="reference profile cannot be used"):
        open_model(tmp_path / "bundle")


def test_a_required_gpu_that_is_not_used_is_an_error(served_bundle: Bundle) -> None:
    if is_gpu_plausible():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="GPU was required"):
        open_model(served_bundle.path, require_gpu=True)
