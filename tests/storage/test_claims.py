"""What was uploaded and never became part of a record goes after a while; everything else stays, in every race."""

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nibabel
import numpy.typing as npt
import pytest
import structlog
from alembic import command
from alembic.config import Config
from google.protobuf import json_format
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import IntegrityError

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef, ObjectRef
from services.core.database import writing
from services.core.errors import AtlasError, Reason
from services.serving.store import store
from services.storage.catalog import database, tables
from services.storage.catalog.catalog import Catalog
from services.storage.claims import HELD, Claims
from services.storage.kinds import LABEL_VERSIONS
from services.storage.objects.port import Objects
from services.storage.uploads import Uploads
from tests.components.processes import wait_until
from tests.storage import files
from tests.storage.conftest import Environment, Process, Start
from tests.storage.test_records import attend, predict
from tests.storage.world import World

nib: Any = nibabel
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Watched:
    """Storage whose clock is ours, with seven days for what is uploaded."""

    def __init__(self, folder: Path, catalog: Catalog, objects: Objects) -> None:
        self.now = datetime.now(UTC)
        self.world = World(folder, catalog=catalog, objects=objects, now=lambda: self.now)
        self.claims = self.world.claims
        self.uploads = Uploads(
            catalog, objects, self.world.blobs, ttl=DAY, unclaimed=7 * DAY, max_open=100, now=lambda: self.now
        )

    def upload(self, data: bytes, *, keep: bool = False) -> str:
        """Name of the uploaded object."""
        sha256 = hashlib.sha256(data).hexdigest()
        row = self.uploads.create(sha256, len(data), "", keep=keep)
        if row.state == "open":
            row = self.uploads.append(row.id, 0, data)
        assert row.state == "complete"
        return f"objects/{sha256}"

    def has(self, name: str) -> bool:
        return self.world.blobs.find(name.removeprefix("objects/")) is not None

    def create(self, name: str, volume_id: str = "case") -> pb.Volume:
        return self.world.volumes.create(pb.CreateVolumeRequest(volume_id=volume_id, object=name))

    def later(self, time: timedelta) -> None:
        """Let time pass, then sweep as the service does."""
        self.now += time
        self.uploads.sweep()
        self.claims.sweep()


@pytest.fixture
def watched(tmp_path: Path, catalog: Catalog, objects: Objects) -> Watched:
    return Watched(tmp_path, catalog, objects)


def named(patient: str, voxels: npt.NDArray[Any] | None = None) -> bytes:
    """A CT, or what is given, whose header names a patient."""
    image = nib.Nifti1Image((files.hounsfield() if voxels is None else voxels).transpose(), files.AFFINE)
    image.header["descrip"] = patient.encode()
    return bytes(image.to_bytes())


def test_what_is_never_imported_or_was_refused_goes_after_its_days(watched: Watched) -> None:
    names = [watched.upload(named("Jane Doe")), watched.upload(b"Jane Doe, born 1970-01-01, no NIfTI at all" * 20)]
    with pytest.raises(AtlasError, match="NIfTI"):
        watched.create(names[1])
    watched.later(7 * DAY - timedelta(minutes=1))
    assert all(map(watched.has, names))
    with structlog.testing.capture_logs() as logs:
        watched.later(timedelta(minutes=2))
    assert not any(map(watched.has, names))
    (event,) = [entry for entry in logs if entry["event"] == "unclaimed uploads deleted"]
    assert event["objects"] == 2
    assert "Doe" not in json.dumps(event)
    assert watched.create(watched.upload(named("Jane Doe"))).notes, "sent anew it comes in as ever"


def case(volume_id: str, ct: str, **masks: str) -> pb.ImportCaseRequest:
    """A CT and its masks by organ, all of them uploaded."""
    request = pb.ImportCaseRequest(volume_id=volume_id, volume=pb.CreateVolumeRequest(object=ct))
    request.labels.author = "amos22"
    for organ, name in masks.items():
        request.labels.files.add(object=name, organ=organ)
    return request


@pytest.mark.parametrize("texts", ["Jane Doe", ""])
def test_nothing_is_left_of_a_case_of_which_one_mask_was_refused(watched: Watched, texts: str) -> None:
    """CT and masks had been looked at by then, and some replaced by what is clean. What else is claimed stays."""
    good, bad = named(texts, files.ball(5)), named(texts, files.ball(5) + files.ball(3))
    taken = named(texts, files.ball(4))
    kept = watched.create(watched.upload(files.ct(2)), "kept")
    labels = pb.ImportLabelVersionRequest(parent=kept.name, origin=pb.ORIGIN_SOURCE, author="amos22")
    labels.files.add(object=watched.upload(taken), organ="stomach")
    version = watched.world.label_import.run(labels)
    refused = case("refused", watched.upload(named(texts)), liver=watched.upload(good), spleen=watched.upload(bad))
    refused.labels.files.add(object=watched.upload(taken), organ="stomach")
    with pytest.raises(AtlasError) as caught:
        watched.world.cases.run(refused)
    assert caught.value.reason == Reason.MASK_NOT_BINARY
    other = named("John Doe", files.hounsfield(1))
    volume = watched.create(watched.upload(other))
    # The same bytes once cleaned, in a case that is refused as well.
    twin = case("twin", watched.upload(named("Jim Doe", files.hounsfield(1))), spleen=watched.upload(bad))
    with pytest.raises(AtlasError):
        watched.world.cases.run(twin)
    watched.later(8 * DAY)
    stored = {key.split("/")[2] for key in watched.world.objects.keys("objects/")}
    (mask,) = stored - {volume.ct.sha256, kept.ct.sha256, version.masks.object.sha256}
    with watched.world.catalog.reading() as session:
        assert not session.scalars(select(tables.Upload)).all()
        cleaned = {row.clean_sha256 for row in session.scalars(select(tables.CleanedObject))}
    assert cleaned == {volume.ct.sha256, kept.ct.sha256, mask}
    watched.upload(taken)
    assert watched.world.label_import.run(labels) == version
    assert watched.create(watched.upload(other)) == volume
    # Sent anew it is judged as ever.
    again = case("refused", watched.upload(named(texts)), liver=watched.upload(good))
    assert watched.world.cases.run(again)[1] is not None


def test_a_clean_object_that_went_before_its_row_is_made_anew(watched: Watched) -> None:
    """A process may die between the two deletions."""
    first = watched.create(watched.upload(named("Jane Doe")), "first")
    watched.world.objects.delete(f"objects/{first.ct.sha256[:2]}/{first.ct.sha256}")
    assert watched.create(watched.upload(named("Jane Doe")), "second").ct == first.ct
    assert watched.has(first.ct.name)


def test_what_a_record_names_stays(watched: Watched) -> None:
    world = watched.world
    name = watched.upload(named("Jane Doe"))
    volume = watched.create(name)
    assert not watched.has(name)
    mask = watched.upload(files.mask(files.ball(5)))
    request = pb.ImportLabelVersionRequest(parent=volume.name, origin=pb.ORIGIN_SOURCE, author="amos22")
    request.files.add(object=mask, organ="liver")
    labels = world.label_import.run(request)
    prediction = predict(world)
    heat = attend(world, [prediction.name])
    kept = [volume.ct.name, labels.masks.object.name, prediction.array.object.name, heat.heat.object.name, mask]
    for known in kept:
        # As clients do that send what storage has already.
        with io.BufferedReader(world.objects.open(f"objects/{known[8:10]}/{known[8:]}")) as body:
            watched.upload(body.read())
    for _ in range(3):
        watched.later(8 * DAY)
    assert all(map(watched.has, kept))
    assert watched.create(name) == volume


@pytest.mark.parametrize("array", ["masks", "combined", "disagreement"])
def test_every_array_of_a_label_version_counts(watched: Watched, array: str) -> None:
    name = watched.upload(array.encode() * 100)
    watched.create(watched.upload(files.ct()))
    watched.world.records.label_versions.add("case", "a" * 32, of_arrays(**{array: name}))
    watched.later(8 * DAY)
    assert watched.has(name)


def test_no_array_of_a_label_version_is_forgotten() -> None:
    """A new one needs a column that names it."""
    arrays = {f.name for f in pb.LabelVersion.DESCRIPTOR.fields if f.message_type is ArrayRef.DESCRIPTOR}
    columns = {name.removesuffix("_sha256") for name in LABEL_VERSIONS.columns(pb.LabelVersion()) if "sha256" in name}
    assert columns | {"masks"} == arrays


def test_what_storage_wrote_itself_and_what_was_asked_to_be_kept_stay(watched: Watched) -> None:
    """The second also when somebody announces it again without asking."""
    model, own = b"a network's archive", watched.world.blobs.put(b"written by storage").name
    name = watched.upload(model, keep=True)
    watched.later(8 * DAY)
    assert watched.upload(model) == name
    watched.later(8 * DAY)
    assert watched.has(name)
    assert watched.has(own)


def test_who_announces_bytes_again_gets_all_the_days_anew(watched: Watched) -> None:
    name = watched.upload(b"bytes")
    watched.later(6 * DAY)
    watched.upload(b"bytes")
    watched.later(6 * DAY)
    assert watched.has(name)
    watched.later(2 * DAY)
    assert not watched.has(name)


def test_an_import_of_the_last_minute_holds_what_it_reads(watched: Watched) -> None:
    """Between the first look at the file and the row that names it, hours may pass."""
    name = watched.upload(named("Jane Doe"))
    watched.now += 7 * DAY - timedelta(minutes=1)
    volume, rows = watched.world.volumes.prepare(pb.CreateVolumeRequest(volume_id="case", object=name))
    watched.later(HELD - timedelta(minutes=5))
    assert watched.has(volume.ct.name)
    assert watched.world.catalog.add_all(rows)
    watched.later(8 * DAY)
    assert watched.has(volume.ct.name)


def test_an_import_and_the_sweep_at_once_lose_nothing(watched: Watched) -> None:
    """Either the volume is there with its file, or the upload is gone and the caller is told to send it."""
    outcomes = set()
    for number in range(12):
        # Without texts, so that the uploaded object is the volume's own.
        name = watched.upload(files.ct(number))
        watched.now += 8 * DAY
        sweep = threading.Thread(target=watched.claims.sweep)
        sweep.start()
        try:
            volume = watched.create(name, f"case-{number}")
            outcomes.add("it is in")
        except AtlasError as error:
            outcomes.add(error.reason)
        sweep.join()
        if watched.world.catalog.find_volume(f"case-{number}"):
            assert watched.has(volume.ct.name)
    assert outcomes <= {"it is in", Reason.RESOURCE_NOT_FOUND}


def test_an_announcement_and_the_sweep_at_once_lose_nothing(watched: Watched) -> None:
    """Whoever is told that the bytes are there can rely on it."""
    for number in range(12):
        data = str(number).encode() * 1000
        name = watched.upload(data)
        watched.now += 8 * DAY
        sweep = threading.Thread(target=watched.claims.sweep)
        sweep.start()
        assert watched.upload(data) == name
        sweep.join()
        assert watched.has(name)


def insert_as_before(watched: Watched, record: pb.LabelVersion, id_: str = "v") -> None:
    """What version 5 of the schema's code writes of a label version, which may run beside ours for a while."""
    with watched.world.catalog.writing() as session:
        session.execute(
            text(
                "INSERT INTO label_versions (volume_id, id, array_sha256, create_time, record, origin, author)"
                " VALUES ('case', :id, :masks, :now, :record, 3, 'x')"
            ),
            {"id": id_, "masks": "d" * 64, "now": NOW, "record": json_format.MessageToJson(record, indent=None)},
        )


def of_arrays(**names: str) -> pb.LabelVersion:
    """A label version whose arrays are these objects."""
    record = pb.LabelVersion()
    for array, name in names.items():
        getattr(record, array).CopyFrom(ArrayRef(object=ObjectRef(name=name, sha256=name.removeprefix("objects/"))))
    return record


def test_arrays_that_older_code_recorded_after_the_migration_stay(watched: Watched) -> None:
    """During an upgrade the old processes go on until the new ones serve."""
    names = [watched.upload(array.encode() * 100) for array in ("combined", "disagreement")]
    other = watched.upload(b"named by nothing")
    watched.create(watched.upload(files.ct()))
    insert_as_before(watched, of_arrays(combined=names[0], disagreement=names[1]))
    insert_as_before(watched, of_arrays(), "without")
    watched.later(8 * DAY)
    assert all(map(watched.has, names))
    assert not watched.has(other)
    for name in names:
        with io.BufferedReader(watched.world.objects.open(f"objects/{name[8:10]}/{name[8:]}")) as body:
            watched.upload(body.read())
    watched.later(8 * DAY)
    assert all(map(watched.has, names))


class Late(Claims):
    """Does something between the look for what is over and the deletion of it."""

    def __init__(self, watched: Watched, meanwhile: Callable[[], object]) -> None:
        super().__init__(watched.world.catalog, watched.world.objects, now=lambda: watched.now)
        self._meanwhile = meanwhile

    def _settle(self, sha256: str) -> int:
        self._meanwhile()
        return super()._settle(sha256)


def test_an_array_that_older_code_records_during_a_sweep_stays(watched: Watched) -> None:
    name = watched.upload(b"combined" * 100)
    watched.create(watched.upload(files.ct()))
    watched.now += 8 * DAY

    def meanwhile() -> None:
        with contextlib.suppress(IntegrityError):
            insert_as_before(watched, of_arrays(combined=name))

    Late(watched, meanwhile).sweep()
    assert watched.has(name)
    watched.claims.sweep()
    assert watched.has(name)


def test_what_another_process_settled_meanwhile_is_looked_at_no_more(watched: Watched) -> None:
    """It may be there anew by then, written by storage itself for a record that is to come."""
    name = watched.upload(b"bytes")
    watched.now += 8 * DAY

    def meanwhile() -> None:
        watched.claims.sweep()
        assert not watched.has(name)
        watched.world.blobs.put(b"bytes")

    Late(watched, meanwhile).sweep()
    assert watched.has(name)


def test_the_first_sweep_names_the_arrays_of_versions_from_before(watched: Watched, engine: Engine) -> None:
    """And looks at no upload from before: a network's archive cannot be told from others."""
    watched.create(watched.upload(files.ct()))
    watched.upload(b"a network's archive")
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    insert_as_before(watched, of_arrays(combined="objects/" + "c" * 64))
    database.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM uploads")).scalar() == 0
    watched.claims.sweep()
    with engine.connect() as connection:
        found = connection.execute(text("SELECT combined_sha256, disagreement_sha256 FROM label_versions")).all()
        assert found == [("c" * 64, "")]


def test_the_service_sweeps_by_itself(start: Start, local: Environment, tmp_path: Path) -> None:
    with start({**local, "sweep_seconds": 0.2}) as process:
        claimed, left = (process.storage.put(data) for data in (files.ct(), named("Jane Doe")))
        process.storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="case", object=claimed.name))
        engine = database.connect(local["database_url"])
        with Catalog(engine).writing() as session:
            assert {row.sha256 for row in session.scalars(select(tables.Upload))} == {claimed.sha256, left.sha256}
            session.execute(update(tables.Upload).values(expire_time=NOW - 30 * DAY))
        wait_until(lambda: "unclaimed uploads deleted" in process.log.read_text(), "no sweep", 30)
        assert process.storage.get(claimed) == files.ct()
        with pytest.raises(AtlasError) as caught:
            process.storage.get(left)
        assert caught.value.reason == Reason.RESOURCE_NOT_FOUND
        engine.dispose()


def test_a_stored_network_is_kept(process: Process, tmp_path: Path) -> None:
    (tmp_path / "unet/1").mkdir(parents=True)
    (tmp_path / "unet/1/model.py").write_text("weights")
    sha256 = store(process.storage, tmp_path / "unet")
    engine = database.connect(f"sqlite:///{tmp_path}/catalog.db")
    with Catalog(engine).reading() as session:
        assert session.get(tables.KeptObject, sha256)
    engine.dispose()
