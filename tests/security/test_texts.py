"""What a header says about a patient is nowhere in storage: not in objects, catalog, logs, metrics or errors."""

import gzip
import threading
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError
from services.core.storage import Storage
from tests.contract.service_process import ServiceProcess, launched, wait_healthy
from tests.storage import files

nib: Any = nibabel  # its types are partial
SECRET = "DOE^JANE"


def with_texts(data: bytes) -> bytes:
    """The NIfTI file with a patient's name wherever a header has room for one."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    for field in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        image.header[field] = SECRET.encode()
    image.header.extensions.append(Nifti1Extension("comment", SECRET.encode() * 40))
    return gzip.compress(image.to_bytes(), mtime=0)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with launched("storage", tmp_path_factory.mktemp("texts"), log_level="debug") as process:
        wait_healthy(process)
        yield process


@pytest.fixture(scope="module")
def storage(service: ServiceProcess) -> Storage:
    return Storage(service.address)


def kept(service: ServiceProcess) -> dict[str, bytes]:
    """Everything that the service keeps or says, decompressed, by where it is."""
    home = service.log.parent
    found = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    found = {name: gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for name, data in found.items()}
    return {**found, "metrics": service.metrics().encode()}


def test_a_ct_and_its_masks_are_kept_without_the_patients_name(service: ServiceProcess, storage: Storage) -> None:
    ct, mask = with_texts(files.ct(1)), with_texts(files.mask(files.ball(5)))
    assert SECRET.encode() in gzip.decompress(ct)
    uploaded = storage.put(ct)
    volume = storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="jane", object=uploaded.name)).volume
    request = pb.ImportLabelVersionRequest(
        parent=volume.name, origin=pb.ORIGIN_SOURCE, author="clinic", class_map="abdomenatlas-1.0"
    )
    request.files.add(object=storage.put(mask).name, organ="liver", display_name="liver.nii.gz")
    version = storage.rpc.ImportLabelVersion(request).label_version
    assert [where for where, data in kept(service).items() if SECRET.encode() in data] == []

    assert volume.uploaded_sha256 == uploaded.sha256 != volume.ct.sha256
    (note,) = volume.notes
    assert "Texts were removed from the file before it was kept" in note
    assert "descrip, aux_file, intent_name, extensions of" in note.replace("data_type, db_name, ", "")
    read = storage.get(volume.ct)
    assert nifti.read_ct(read).digest() == nifti.read_ct(ct).digest() == volume.voxel_digest
    before, after = (nib.Nifti1Image.from_bytes(gzip.decompress(data)) for data in (ct, read))
    assert np.asanyarray(after.dataobj).tobytes() == np.asanyarray(before.dataobj).tobytes()
    assert after.affine.tobytes() == before.affine.tobytes()
    assert (storage.array(version.masks).channel("liver") == files.ball(5)).all()
    with pytest.raises(AtlasError):
        storage.get(uploaded)


def test_the_same_again_is_the_same_and_sends_nothing(storage: Storage) -> None:
    """The upload is known although its bytes are gone; a second volume of it is made of the clean file."""
    ct = with_texts(files.ct(2))
    sent: list[int] = []
    name = storage.put(ct).name
    request = pb.CreateVolumeRequest(volume_id="again", object=name)
    volume = storage.rpc.CreateVolume(request).volume
    again = storage._upload(name.removeprefix("objects/"), len(ct), lambda offset: iter([ct[offset:]]), sent.append)
    assert (again.name, sent) == (name, [])
    assert storage.rpc.CreateVolume(request).volume == volume
    second = storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="copy", object=name)).volume
    assert (second.ct, list(second.notes)) == (volume.ct, list(volume.notes))
    with pytest.raises(AtlasError):
        storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="again", object=storage.put(files.ct(3)).name))


def test_imports_of_one_file_at_once_all_succeed(storage: Storage) -> None:
    """One of them replaces the upload while the others read it."""
    name = storage.put(with_texts(files.ct(4))).name
    made: list[pb.Volume] = []
    failures: list[Exception] = []

    def create(number: int) -> None:
        try:
            request = pb.CreateVolumeRequest(volume_id=f"crowd-{number}", object=name)
            made.append(storage.rpc.CreateVolume(request).volume)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({volume.ct.sha256 for volume in made}) == 1


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: gzip.compress(gzip.decompress(data)[:-50]),
    "damaged": lambda data: data[:-300] + bytes(300),
    "not three-dimensional": lambda data: gzip.compress(gzip.decompress(data).replace(b"\3\0", b"\2\0", 1)),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_the_error_about_a_bad_file_quotes_none_of_it(service: ServiceProcess, storage: Storage, spoil: str) -> None:
    name = storage.put(SPOILT[spoil](with_texts(files.ct(5)))).name
    with pytest.raises(AtlasError) as caught:
        storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="bad", object=name))
    assert SECRET not in f"{caught.value} {caught.value.remedy}"
    assert SECRET not in service.log.read_text()
    metrics = service.metrics()
    assert 'atlas_rpc_calls_total{method="StorageService/CreateVolume"' in metrics, "the call is not counted"
    assert SECRET not in metrics
