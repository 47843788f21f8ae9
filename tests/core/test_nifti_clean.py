"""Texts are taken out of a NIfTI file, and nothing else is: voxels and numbers of the header stay to the last bit."""

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from services.core import nifti
from services.core.nifti import clean

nib: Any = nibabel  # its types are partial
SECRET = b"DOE^JANE"
WORDS = {"descrip": b"DOE^JANE 1971", "aux_file": b"DOE^JANE.hdr", "intent_name": b"DOE^JANE"}
HU = np.random.default_rng(3).integers(-1024, 1500, (9, 8, 7)).astype(np.int16)
AFFINE = np.array([[0.7, 0.02, 0, -120.5], [-0.02, -0.7, 0.1, 80.25], [0, 0.1, 2.5, -300.125], [0, 0, 0, 1]])


def file(cls: Any = nib.Nifti1Image, order: str = "<", words: bool = True, extension: bool = False) -> bytes:
    header = (nib.Nifti1Header if cls is nib.Nifti1Image else nib.Nifti2Header)(endianness=order)
    image = cls(HU.T, AFFINE, header=header, dtype="i2")
    if words:
        for name, value in WORDS.items():
            image.header[name] = value
        if cls is nib.Nifti1Image:
            image.header["db_name"], image.header["data_type"] = SECRET, SECRET
    if extension:
        image.header.extensions.append(Nifti1Extension("comment", SECRET * 100))
    return bytes(image.to_bytes())


def cleaned(data: bytes) -> tuple[bytes, clean.Texts]:
    texts = clean.find(data[: clean.START_BYTES], data[-4:], len(data))
    if not texts.note:
        return data, texts
    return b"".join(clean.cleaned(io.BytesIO(data), texts)), texts


def unzipped(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("extension", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
def test_no_text_is_left_and_voxels_and_numbers_are_as_they_were(
    cls: Any, order: str, extension: bool, zipped: bool
) -> None:
    given = file(cls, order, extension=extension)
    result, texts = cleaned(gzip.compress(given, mtime=0) if zipped else given)
    assert SECRET in given
    assert SECRET not in unzipped(result)
    assert SECRET.decode() not in texts.note
    before, after = (cls.from_bytes(data) for data in (given, unzipped(result)))
    assert np.asanyarray(after.dataobj).tobytes() == np.asanyarray(before.dataobj).tobytes()
    for name in set(before.header) - {*WORDS, "db_name", "data_type", "vox_offset", "unused_str"}:
        assert after.header[name].tobytes() == before.header[name].tobytes(), name
    assert after.affine.tobytes() == before.affine.tobytes()
    assert nifti.read_ct(result).digest() == nifti.read_ct(given).digest()
    assert not after.header.extensions
    assert cleaned(result) == (result, clean.find(result[: clean.START_BYTES], result[-4:], len(result)))
    assert not cleaned(result)[1].note
    assert cleaned(gzip.compress(given, mtime=0) if zipped else given)[0] == result


def test_a_file_without_texts_is_left_alone() -> None:
    for data in (file(words=False), gzip.compress(file(words=False), mtime=7)):
        assert cleaned(data)[0] == data


def named(data: bytes, level: int = 6) -> bytes:
    """The file as `gzip` writes it: its name stands in the gzip header."""
    result = io.BytesIO()
    with gzip.GzipFile("DOE^JANE.nii", "wb", level, result) as zipped:
        zipped.write(data)
    return result.getvalue()


def test_a_name_in_the_gzip_header_goes_and_the_compressed_data_stay() -> None:
    data = named(file(words=False))
    result, texts = cleaned(data)
    assert SECRET in data
    assert SECRET not in result
    assert texts.is_only_around
    assert result[10:] == data[data.index(b".nii\0") + 5 :]
    assert gzip.decompress(result) == gzip.decompress(data)


def test_extra_fields_comments_and_checks_of_a_gzip_header_go_too() -> None:
    plain = gzip.compress(file(words=False))
    header = bytes([*plain[:3], 2 + 4 + 8 + 16, *plain[4:10]]) + b"\4\0ABCD" + SECRET + b"\0" + SECRET + b"\0"
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    result, _ = cleaned(header + plain[10:])
    assert SECRET not in result
    assert gzip.decompress(result) == gzip.decompress(plain)


def test_what_follows_the_last_voxel_and_names_of_later_members_go() -> None:
    """Padding may hold anything; a file of two gzip members has a header in its middle."""
    whole = file(words=False)
    for data in (
        whole + SECRET,
        gzip.compress(whole + SECRET),
        gzip.compress(whole[:700]) + named(whole[700:]),
    ):
        result, texts = cleaned(data)
        assert texts.has_more_bytes
        assert SECRET not in result
        assert unzipped(result) == whole


@pytest.mark.skipif("ATLAS_REAL_DATA" not in os.environ, reason="ATLAS_REAL_DATA names no folder of real CTs")
def test_real_cts_keep_every_voxel() -> None:
    """Real files, as scanners and converters wrote them: after cleaning they read the same, and hold no text."""
    folder = Path(os.environ["ATLAS_REAL_DATA"])
    paths = [path for path in sorted(folder.glob("*/*.nii.gz")) if path.parent.name != "robustness"][:12]
    assert paths
    for path in paths:
        data = path.read_bytes()
        result, _ = cleaned(data)
        before, after = unzipped(data), unzipped(result)
        offset = nifti.read_header(data).voxel_offset
        assert after[-(len(before) - offset) :] == before[offset:]
        assert nifti.read_header(result).geometry == nifti.read_header(data).geometry
        assert not cleaned(result)[1].note
