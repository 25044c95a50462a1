"""Identifiers planted in every text field of every format reach nothing that an import writes or says."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cohort.importing.deidentify import KEY_NAME
from tests.support.nuclear_medicine import nuclear_medicine_series, recon_tomo, to_bytes

NAME, BORN, NUMBER = "Zyxwabel", "19370213", "1.2.826.999.424242"
SECRETS = (NAME, BORN, NUMBER)
_PLANTS = {
    **dict.fromkeys(("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE"), NAME),
    "DA": BORN,
    "DT": BORN,
    "UI": NUMBER,
    "UR": f"http://x/{NAME}",
}


def _plant(dataset: Dataset) -> Dataset:
    """Fill every text attribute of the dictionary that the file does not need to be read, and private ones."""
    for keyword in keyword_dict:
        tag = tag_for_keyword(keyword)
        if tag is None or tag in dataset or not 0x0008 <= (tag >> 16) < 0x5000 or (tag & 0xFFFF) == 0:
            continue
        vr = dictionary_VR(tag)
        if vr in _PLANTS:
            dataset.add_new(tag, vr, _PLANTS[vr][: 16 if vr in ("AE", "SH") else None])
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientID = f"{NAME}^Ann", BORN, f"{NAME}-1"
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = f"{NUMBER}.1"
    inner = Dataset()
    inner.PersonName, inner.TextValue = NAME, NAME
    dataset.ContentSequence = Sequence([inner])
    block = dataset.private_block(0x0011, NAME, create=True)
    block.add_new(0x01, "LO", NAME)
    block.add_new(0x02, "UN", NAME.encode())
    # What was planted must not say that the image is something else.
    for keyword in ("Units", "PixelDataProviderURL", "SpacingBetweenSlices", "PatientOrientation"):
        if keyword in dataset and keyword != "SpacingBetweenSlices":
            del dataset[keyword]
    return dataset


def _dicom(folder: Path) -> None:
    (folder / f"{NAME}.dcm").write_bytes(to_bytes(_plant(recon_tomo())))
    series = folder / f"{NAME}_{BORN}"
    series.mkdir()
    for i, dataset in enumerate(nuclear_medicine_series()):
        (series / f"{NAME}{i:03d}").write_bytes(to_bytes(_plant(dataset)))


def _nifti(folder: Path) -> None:
    x, y, z = np.meshgrid(*(np.arange(n) * 4.0 - o for n, o in ((46, 90), (55, 126), (46, 72))), indexing="ij")
    inside = (x / 65) ** 2 + ((y + 18) / 85) ** 2 + (z / 75) ** 2 < 1
    affine = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(inside.astype(np.float32), affine)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = NAME.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, f"{NAME} {BORN} {NUMBER}".encode()))
    nibabel.save(image, folder / f"{NAME}.nii")


def _arrays(folder: Path) -> None:
    counts = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
    words = {"level": np.array("COR"), "pattern": np.array("normal"), "patient": np.array(NAME)}
    np.savez(folder / f"{NAME}.npz", counts=counts, note=np.array([NAME, BORN, NUMBER]), **words)


def _pictures(folder: Path) -> None:
    text = PngImagePlugin.PngInfo()
    for key in ("Description", "Author", "Comment", NAME):
        text.add_itxt(key, f"{NAME} {BORN} {NUMBER}")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (269, 270, 271, 272, 285, 305, 315, 316, 33432):
        tags[tag] = f"{NAME} {BORN}"
    gray = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8))
    gray.save(folder / f"{NAME}.png", pnginfo=text)
    gray.rotate(90).save(folder / f"{NAME}.tif", tiffinfo=tags)


def _broken(folder: Path) -> None:
    """Files that fail, each with the name inside and where a message might quote it."""
    (folder / f"{NAME}.nii").write_bytes(NAME.encode() * 200)
    (folder / f"{NAME}.dcm").write_bytes(to_bytes(_plant(recon_tomo()))[:9000])
    counts = np.ones((1, 64, 64), dtype=np.float32)
    np.savez(folder / "level.npz", counts=counts, level=np.array(NAME))
    np.savez(folder / "unit.npz", counts=counts, level=np.array("COR"), intensity_unit=np.array(NAME))
    np.savez(folder / "spacing.npz", counts=counts, pixel_spacing_mm=np.array(NAME))
    np.savez(folder / "pattern.npz", counts=counts, level=np.array("COR"), pattern=np.array(NAME))
    Image.new("RGB", (8, 8)).save(folder / f"{NAME}.png")
    np.savez(folder / "array.npz", **{f"{NAME}_{BORN}": counts})
    for file, member, content, method in (
        ("text.npz", f"{NAME}_report.txt", NAME, zipfile.ZIP_STORED),
        ("packed.npz", f"{NAME}.npy", NAME, zipfile.ZIP_BZIP2),
        ("numpy.npz", f"{NAME}.npy", NAME, zipfile.ZIP_STORED),
    ):
        with zipfile.ZipFile(folder / file, "w", method) as archive:
            archive.writestr(member, content)
    lying = (folder / "numpy.npz").read_bytes().replace(NAME.encode(), NAME.upper().encode(), 1)
    (folder / "lying.npz").write_bytes(lying)


def _labels(scans: Path, path: Path) -> None:
    rows = ["file,pattern,level,patient,pixel_spacing_mm,left"]
    for file in sorted(scans.rglob("*")):
        if file.is_file():
            level = "COR" if file.suffix in (".png", ".tif", ".dcm") else ""
            picture = ",3.3,image-right" if file.suffix in (".png", ".tif") else ",,"
            name = file.relative_to(scans).as_posix()
            rows.append(f"{name},normal,{level},{NAME}-{file.parent.name}{picture}")
    path.write_text("\n".join(rows) + "\n")


def _import(folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "SYNSPECT_HOME": str(folder / "home"), "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        "from synspect.cli import main; main()",
        "cohort",
        "import",
        str(folder / "scans"),
        str(folder / "cohort"),
    ]
    return subprocess.run([*command, *options], env=environment, capture_output=True, check=False, timeout=120)


def _contents(path: Path) -> list[bytes]:
    content = path.read_bytes()
    if path.suffix != ".npz":
        return [content]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [content, *(archive.read(name) for name in archive.namelist())]


def _assert_nothing_tells(folder: Path, said: bytes) -> None:
    written = [path for root in ("home", "cohort") for path in (folder / root).rglob("*") if path.is_file()]
    contents = [(path.name, content) for path in written if path.name != KEY_NAME for content in _contents(path)]
    contents += [("stdout and stderr", said), *(("a file's name", str(path).encode()) for path in written)]
    for where, content in contents:
        for secret in SECRETS:
            for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
                assert secret.encode(encoding) not in content, (where, secret, encoding)


@pytest.mark.parametrize("make", [_dicom, _nifti, _arrays, _pictures])
def test_no_identifier_of_a_file_reaches_what_an_import_writes_or_says(tmp_path, make) -> None:
    (tmp_path / "scans").mkdir()
    make(tmp_path / "scans")
    _labels(tmp_path / "scans", tmp_path / "labels.csv")

    done = _import(tmp_path, "--labels", str(tmp_path / "labels.csv"), "--planes", "BG=0,COR=20")

    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert (tmp_path / "cohort" / "import-report.json").is_file()
    assert b"skipped" not in done.stdout, done.stdout.decode()
    _assert_nothing_tells(tmp_path, done.stdout + done.stderr)


def test_no_identifier_of_a_file_reaches_the_words_of_a_failed_import(tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    _broken(tmp_path / "scans")

    failed = _import(tmp_path, "--pattern", "normal")
    assert failed.returncode == 2
    assert not (tmp_path / "cohort").exists()
    np.savez(tmp_path / "scans" / "good.npz", counts=np.ones((1, 64, 64), dtype=np.float32), level=np.array("COR"))
    told = _import(tmp_path, "--pattern", "normal")  # every reason is told, not the first three

    assert told.stdout.count(b"skipped") == 12, told.stdout.decode() + told.stderr.decode()
    for done in (failed, told):
        assert b"Traceback" not in done.stderr
        _assert_nothing_tells(tmp_path, done.stdout + done.stderr)


def test_labels_whose_columns_slipped_are_not_quoted(tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    _broken(tmp_path / "scans")
    (tmp_path / "labels.csv").write_text(f"file,pattern,level,left,cer_mm\n{NAME},{NAME},{NAME},{NAME},{BORN}\n")
    (tmp_path / "headless.csv").write_text(f"{NAME},normal\n")

    for labels in ("labels.csv", "headless.csv"):
        done = _import(tmp_path, "--labels", str(tmp_path / labels))

        assert done.returncode == 2
        _assert_nothing_tells(tmp_path, done.stdout + done.stderr)


def test_a_planted_dicom_really_holds_the_identifiers() -> None:
    content = to_bytes(_plant(recon_tomo()))

    assert all(content.count(secret.encode()) > 20 for secret in (NAME, BORN))
    assert dcmread(io.BytesIO(content)).PatientName == f"{NAME}^Ann"
