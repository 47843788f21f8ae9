"""Bad files are named with reason and remedy, their cases stay out, and the other cases go in: by the real storage."""

import gzip
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.storage import Storage
from tests.cli.test_command_line import atlas

nib: Any = nibabel
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])


def save(path: Path, voxels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def break_affine(path: Path, value: float) -> None:
    """Fill the sform's three rows of a NIfTI-1 file with one number, and leave it no qform."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<2h", data, 252, 0, 1)
    struct.pack_into("<12f", data, 280, *[value] * 12)
    path.write_bytes(gzip.compress(bytes(data)))


def scan(seed: int = 0, shape: tuple[int, ...] = (16, 14, 10)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-1000, 300, shape).astype(np.int16)


def bomb(path: Path) -> None:
    """A file of 12 kB that goes on for 12 MB behind the last voxel."""
    save(path, scan(1))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(12_000_000)))


def huge(path: Path) -> None:
    """A header of 4000^3 voxels, and next to no bytes."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header["dim"][:4] = 3, 4000, 4000, 4000
    header["pixdim"][:4] = 1
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(1000)))


def write_all(root: Path) -> None:
    mask = (scan() > 0).astype(np.uint8)
    for name in ("good", "late"):
        save(root / name / "ct.nii.gz", scan())
        save(root / name / "segmentations" / "liver.nii.gz", mask)
        save(root / name / "segmentations" / "bone.nii.gz", mask)
    for name, organ, voxels, affine in (
        ("grid", "spleen", mask, np.diag([-2.0, -2.0, 4.0, 1.0])),
        ("shape", "aorta", mask[:-1], AFFINE),
        ("grey", "stomach", scan(2), AFFINE),
    ):
        save(root / name / "ct.nii.gz", scan())
        save(root / name / "segmentations" / "liver.nii.gz", mask)
        save(root / name / "segmentations" / f"{organ}.nii.gz", voxels, affine)
    save(root / "several" / "ct.nii.gz", scan())
    for organ in ("aorta", "liver", "spleen"):
        save(root / "several" / "segmentations" / f"{organ}.nii.gz", mask)
    (root / "several" / "segmentations" / "aorta.nii.gz").write_bytes(b"")
    (root / "several" / "segmentations" / "spleen.nii.gz").unlink()
    (root / "several" / "segmentations" / "spleen.nii.gz").symlink_to("nowhere")
    save(root / "background" / "ct.nii.gz", scan())
    save(root / "background" / "combined_labels.nii.gz", mask * np.uint8(0))
    save(root / "map" / "ct.nii.gz", scan())
    save(root / "map" / "combined_labels.nii.gz", mask * np.uint8(77))
    for name, data in (
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"),
        ("apple", b"\x00\x05\x16\x07" + bytes(174)),
        ("text", b"hello, this is not an image\n" * 40),
        ("nothing", b""),
    ):
        (root / name).mkdir()
        (root / name / "ct.nii.gz").write_bytes(data)
    save(root / "cut" / "ct.nii.gz", scan(3))
    whole = (root / "cut" / "ct.nii.gz").read_bytes()
    (root / "cut" / "ct.nii.gz").write_bytes(whole[: len(whole) // 2])
    bomb(root / "bomb" / "ct.nii.gz")
    huge(root / "huge" / "ct.nii.gz")
    save(root / "series" / "ct.nii.gz", scan(4, (8, 8, 8, 3)))
    save(root / "slice" / "ct.nii.gz", scan(5, (8, 8)))
    save(root / "zero" / "ct.nii.gz", scan(6))
    break_affine(root / "zero" / "ct.nii.gz", 0.0)
    save(root / "nan_affine" / "ct.nii.gz", scan(7))
    break_affine(root / "nan_affine" / "ct.nii.gz", float("nan"))
    voxels = scan(8).astype(np.float32)
    voxels[1, 2, 3] = np.nan
    save(root / "nan_voxel" / "ct.nii.gz", voxels)
    (root / "empty").mkdir()
    (root / "outside").symlink_to("/")


EXPECTED = {
    "grid/segmentations/spleen.nii.gz": "GEOMETRY_MISMATCH",
    "shape/segmentations/aorta.nii.gz": "GEOMETRY_MISMATCH",
    "grey/segmentations/stomach.nii.gz": "MASK_NOT_BINARY",
    "several/segmentations/aorta.nii.gz": "FILE_TRUNCATED",
    "several/segmentations/spleen.nii.gz": "RESOURCE_NOT_FOUND",
    "background/combined_labels.nii.gz": "FIELD_INVALID",
    "map/combined_labels.nii.gz": "LABEL_UNKNOWN",
    "lfs/ct.nii.gz": "FILE_NOT_NIFTI",
    "apple/ct.nii.gz": "FILE_NOT_NIFTI",
    "text/ct.nii.gz": "FILE_NOT_NIFTI",
    "nothing/ct.nii.gz": "FILE_TRUNCATED",
    "cut/ct.nii.gz": "FILE_TRUNCATED",
    "bomb/ct.nii.gz": "FILE_TOO_LARGE",
    "huge/ct.nii.gz": "VOLUME_TOO_LARGE",
    "series/ct.nii.gz": "IMAGE_NOT_3D",
    "slice/ct.nii.gz": "IMAGE_NOT_3D",
    "zero/ct.nii.gz": "AFFINE_INVALID",
    "nan_affine/ct.nii.gz": "AFFINE_INVALID",
    "nan_voxel/ct.nii.gz": "VOXELS_NOT_FINITE",
    "empty": "FOLDER_EMPTY",
    "outside": "NAME_INVALID",
}


def test_every_bad_file_is_named_and_the_other_cases_go_in(storage: str, tmp_path: Path) -> None:
    root = tmp_path / "cases"
    root.mkdir()
    write_all(root)
    shown = atlas("import", str(root), "--dataset", "d", "--json", cwd=tmp_path, ATLAS_STORAGE=storage)
    assert shown.returncode == 1, shown.stderr
    entries = json.loads(shown.stdout)
    refused = {str(Path(r["path"]).relative_to(root)): r for entry in entries for r in entry["refused"]}
    assert {path: r["reason"] for path, r in refused.items()} == EXPECTED
    for path, refusal in refused.items():
        assert refusal["remedy"], path
        assert f"error: {root / path}: {refusal['message']}" in shown.stderr
        assert f"{root / path}: {path}" not in shown.stderr, "a file is named once"
    volumes = {entry["volume"]: entry["organs"] for entry in entries if entry["volume"]}
    assert volumes == {"volumes/good": ["liver"], "volumes/late": ["liver"]}
    listed = Storage(storage).rpc.ListVolumes(pb.ListVolumesRequest(dataset="d")).volumes
    assert {volume.name for volume in listed} == set(volumes), "nothing is half imported"
    ignored = next(entry["ignored"] for entry in entries if entry["volume"] == "volumes/good")
    assert [Path(path).name for path in ignored] == ["bone.nii.gz"]


def test_the_summary_tells_what_went_in_and_what_stayed_out(storage: str, tmp_path: Path) -> None:
    for name in ("fine", "faulty"):
        save(tmp_path / "cases" / name / "ct.nii.gz", scan(24))
        save(tmp_path / "cases" / name / "segmentations" / "liver.nii.gz", (scan() > 0).astype(np.uint8))
    for organ in ("aorta", "spleen"):
        (tmp_path / "cases" / "faulty" / "segmentations" / f"{organ}.nii.gz").write_bytes(b"")
    (tmp_path / "cases" / "empty").mkdir()
    shown = atlas("import", "cases", cwd=tmp_path, ATLAS_STORAGE=storage)
    assert shown.returncode == 1
    said = "Cases in storage: 1. Files or folders refused: 3; their cases stay out, each goes in whole or not at all."
    assert said in " ".join(shown.stdout.split())
    again = atlas("import", "cases/fine", cwd=tmp_path, ATLAS_STORAGE=storage)
    assert again.returncode == 0
    assert "Cases in storage: 1.\n" in again.stdout


def test_importing_again_changes_nothing(storage: str, tmp_path: Path) -> None:
    save(tmp_path / "again" / "ct.nii.gz", scan(20))
    save(tmp_path / "again" / "segmentations" / "liver.nii.gz", (scan(20) > 0).astype(np.uint8))
    runs = [atlas("import", str(tmp_path / "again"), "--json", cwd=tmp_path, ATLAS_STORAGE=storage) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout


def test_another_ct_under_the_same_name_is_refused(storage: str, tmp_path: Path) -> None:
    save(tmp_path / "taken" / "ct.nii.gz", scan(21))
    assert atlas("import", str(tmp_path / "taken"), cwd=tmp_path, ATLAS_STORAGE=storage).returncode == 0
    save(tmp_path / "taken" / "ct.nii.gz", scan(22))
    shown: subprocess.CompletedProcess[str] = atlas(
        "import", str(tmp_path / "taken"), "--json", cwd=tmp_path, ATLAS_STORAGE=storage
    )
    assert shown.returncode == 1
    assert json.loads(shown.stdout)[0]["refused"][0]["reason"] == "RESOURCE_CONFLICT"


def test_a_label_map_beside_one_file(storage: str, tmp_path: Path) -> None:
    save(tmp_path / "mapped.nii.gz", scan(23))
    save(tmp_path / "labels.nii.gz", np.where(scan(23) > 0, 5, 0).astype(np.float64))
    shown = atlas(
        "import",
        "mapped.nii.gz",
        "--label-map",
        "labels.nii.gz",
        "--looked-for",
        "liver,spleen",
        "--json",
        cwd=tmp_path,
        ATLAS_STORAGE=storage,
    )
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)[0]["organs"] == ["liver", "spleen"]
