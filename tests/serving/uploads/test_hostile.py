"""Files and forms made to harm: each is refused in words, quickly, and leaves the service as it was."""

import asyncio
import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import httpx
import numpy as np
import pydicom
import pytest
from prometheus_client import CollectorRegistry
from pydicom.uid import DeflatedExplicitVRLittleEndian

from registry.bundle.directory import Bundle
from serving.metrics import ServiceMetrics
from serving.routes import build_app
from serving.settings import ServiceSettings
from serving.worker import Worker
from tests.support.asgi_client import AsgiClient
from tests.support.drift_samples import draw_slices

MIB = 2**20
LIMIT = 8 * MIB
PATHS = ("/v1/quantify", "/v1/drift/check")


@pytest.fixture(scope="module")
def client(served_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiClient]:
    fields = {"bundle_dir": served_bundle.path, "state_dir": tmp_path_factory.mktemp("s"), "max_upload_bytes": LIMIT}
    worker = Worker(ServiceSettings.model_validate(fields), ServiceMetrics(CollectorRegistry()))
    with closing(AsgiClient(build_app(worker))) as opened:
        yield opened


def upload(client: AsgiClient, content: bytes, path: str = "/v1/quantify"):
    fields = {"level": "COR", "pattern": "normal"} if path.endswith("check") else {}
    return client.post(path, files={"file": ("slices", content)}, data=fields)


def npy_header(shape: str, type_name: str = "<f4") -> bytes:
    words = f"{{'descr': '{type_name}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words.encode()


def zip_bomb() -> bytes:
    """Return 64 MiB of zeros in 64 KiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("counts.npy", npy_header("(4096, 64, 64)") + bytes(64 * MIB))
    return buffer.getvalue()


def lying_zip() -> bytes:
    """Return the same with a directory that says 1 KiB."""
    content = bytearray(zip_bomb())
    size = struct.pack("<I", 64 * MIB + 128)
    assert content.count(size) >= 1
    return bytes(content.replace(size, struct.pack("<I", 1024)))


def many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.npy", b"")
    return buffer.getvalue()


def gzip_bomb() -> bytes:
    return zlib.compress(bytes(64 * MIB), 9, wbits=31)


def deflated_dicom() -> bytes:
    dataset = pydicom.Dataset()
    dataset.PatientName = "SECRET^NAME"
    dataset.PixelData = bytes(16 * MIB)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.20"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


HOSTILE = {
    "zip bomb": zip_bomb,
    "zip that lies about its size": lying_zip,
    "zip of very many files": many_members,
    "gzip bomb": gzip_bomb,
    "deflated DICOM": deflated_dicom,
    "pickle inside npy": object_array,
    "npy that promises a terabyte": lambda: npy_header("(1000000, 512, 512)") + bytes(1000),
    "npy of negative size": lambda: npy_header("(-1, 64, 64)"),
    "npy header of nested tuples": lambda: npy_header("(" * 50 + ")" * 50),
    "NIfTI header of nothing": lambda: struct.pack("<i", 348) + b"\xff" * 400,
    "DICOM of empty elements": lambda: bytes(128) + b"DICM" + b"\x08\x00\x05\x00CS\x00\x00" * 200_000,
    "picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "nothing": lambda: b"",
    "page": lambda: b"<script>alert(1)</script>",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words(client: AsgiClient, name: str, path: str) -> None:
    content = HOSTILE[name]()
    assert len(content) < LIMIT
    response = upload(client, content, path)
    assert response.status_code in {400, 422}, response.text
    told = response.json()["detail"]
    assert told.startswith("the uploaded file")
    for word in ("Traceback", "SECRET", "/", "numpy.", "zlib", "<script>"):
        assert word not in told.replace("Talairach/MNI", "")


def test_after_all_of_them_a_sound_file_is_measured_by_the_same_process(client: AsgiClient) -> None:
    buffer = io.BytesIO()
    np.save(buffer, draw_slices(2, np.random.default_rng(0)).astype(np.float32))
    assert len(upload(client, buffer.getvalue()).json()["slices"]) == 2
    pid = client.app.state.worker.measuring.pid
    for make in HOSTILE.values():
        upload(client, make())
    assert len(upload(client, buffer.getvalue()).json()["slices"]) == 2
    assert client.app.state.worker.measuring.pid == pid


def test_a_file_beyond_the_limit_is_413(client: AsgiClient) -> None:
    response = upload(client, bytes(LIMIT + 1))
    assert response.status_code == 413
    assert f"at most {LIMIT}" in response.json()["detail"]


def test_four_long_uploads_at_once_take_little_memory_of_the_worker(open_client) -> None:
    client = open_client()
    upload(client, b"")  # what imports and the first upload take once
    size, piece = 32 * MIB, bytes(64 * 2**10)

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK\x03\x04'
        for _ in range(size // len(piece)):
            yield piece
        yield b"\r\n--x--\r\n"

    async def four() -> list[httpx.Response]:
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        return await asyncio.gather(
            *(client._http.request("POST", "/v1/quantify", content=body(), headers=form) for _ in "four")
        )

    tracemalloc.start()
    try:
        answers = client._run(four())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [answer.json()["detail"].split(";")[0] for answer in answers] == [
        "the uploaded file is not a whole npz file"
    ] * 4
    assert peak < 12 * MIB  # 128 come in


def form(*parts: tuple[bytes, bytes]) -> tuple[bytes, dict[str, str]]:
    body = b"".join(b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + b"--x--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=x"}


def field(name: str, content: bytes = b"1") -> tuple[bytes, bytes]:
    return f'Content-Disposition: form-data; name="{name}"'.encode(), content


def file(head: bytes = b"") -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="file"; filename="a"' + head, b"1"


@pytest.mark.parametrize(
    ("name", "content", "headers"),
    [
        ("many fields", *form(*(field(f"f{number}") for number in range(10_000)))),
        ("many files", *form(*(file() for _ in range(100)))),
        ("a huge field", *form(field("level", bytes(2 * MIB)), file())),
        ("a huge header of a part", *form(file(b"\r\nX-Long: " + b"a" * 100_000))),
        ("many headers of a part", *form(file(b"\r\nX-A: b" * 1000))),
        (
            "no end",
            b"--x\r\nContent-Disposition: form-data; name=",
            {"Content-Type": "multipart/form-data; boundary=x"},
        ),
        ("a long boundary", b"--x", {"Content-Type": "multipart/form-data; boundary=" + "x" * 5000}),
        ("no boundary", b"--x", {"Content-Type": "multipart/form-data"}),
        ("no form", b"nothing of the kind" * 1000, {"Content-Type": "multipart/form-data; boundary=x"}),
        ("a file in another field", *form((b'Content-Disposition: form-data; name="x"; filename="a"', b"1"))),
    ],
)
def test_a_hostile_form_is_malformed(client: AsgiClient, name: str, content: bytes, headers: dict) -> None:
    response = client.post("/v1/quantify", content=content, headers=headers)
    assert response.status_code == 400, name
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]
