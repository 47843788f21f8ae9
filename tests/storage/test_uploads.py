"""Uploads on both databases: what is safe, what is visible, and when they end."""

import hashlib
import io
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.core.errors import AtlasError, Reason
from services.core.memory import MemoryGate
from services.storage.blobs import Blobs
from services.storage.catalog.catalog import Catalog
from services.storage.catalog.tables import Upload
from services.storage.claims import Claims
from services.storage.objects.filesystem import FilesystemObjects
from services.storage.uploads import KEPT, Uploads

DATA = os.urandom(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
HOUR = timedelta(hours=1)


class World:
    """Uploads with a clock of our own."""

    def __init__(self, catalog: Catalog, folder: Path, max_open: int = 100) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.objects = FilesystemObjects(folder)
        claims = Claims(catalog, self.objects, now=lambda: self.now)
        self.blobs = Blobs(self.objects, MemoryGate(2**30), claims.hold)
        self.uploads = Uploads(
            catalog,
            self.objects,
            self.blobs,
            ttl=HOUR,
            unclaimed=7 * 24 * HOUR,
            max_open=max_open,
            now=lambda: self.now,
        )

    def create(self, data: bytes = DATA, request_id: str = "") -> Upload:
        return self.uploads.create(hashlib.sha256(data).hexdigest(), len(data), request_id)

    @property
    def keys(self) -> set[str]:
        return {key.split("/")[0] for prefix in ("objects/", "uploads/") for key in self.objects.keys(prefix)}


@pytest.fixture
def world(catalog: Catalog, tmp_path: Path) -> World:
    return World(catalog, tmp_path / "store")


def refusal(action: object, *args: object) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        action(*args)  # type: ignore[operator]
    return caught.value


def test_pieces_become_an_object_when_the_last_has_come(world: World) -> None:
    id_ = world.create().id
    assert world.uploads.append(id_, 0, DATA[:100_000]).committed_bytes == 100_000
    assert world.blobs.find(SHA) is None
    assert world.uploads.append(id_, 100_000, DATA[100_000:250_000]).state == "open"
    done = world.uploads.append(id_, 250_000, DATA[250_000:])
    assert (done.state, done.committed_bytes) == ("complete", len(DATA))
    with world.blobs.open_buffered(SHA) as body:
        assert body.read() == DATA
    assert world.keys == {"objects"}
    assert world.uploads.get(id_).state == "complete"


def test_one_piece_is_enough_for_a_small_object(world: World) -> None:
    assert world.uploads.append(world.create().id, 0, DATA).state == "complete"
    assert world.keys == {"objects"}


def test_the_same_bytes_are_one_upload_and_are_sent_once(world: World) -> None:
    first, second = world.create(), world.create()
    assert first.id == second.id
    world.uploads.append(first.id, 0, DATA[:1000])
    assert world.create().committed_bytes == 1000
    world.uploads.append(first.id, 1000, DATA[1000:])
    third = world.create(request_id="another")
    assert third.id != first.id
    assert third.state == "complete"


def test_a_request_id_means_one_upload(world: World) -> None:
    assert world.create(request_id="r").id == world.create(request_id="r").id
    assert refusal(world.create, b"other", "r").reason == Reason.REQUEST_ID_REUSED


def test_a_wrong_size_of_known_bytes_is_refused(world: World) -> None:
    world.uploads.append(world.create().id, 0, DATA)
    assert refusal(world.uploads.create, SHA, 7, "").reason == Reason.FIELD_INVALID


def test_a_gap_is_refused_and_an_overlap_is_skipped(world: World) -> None:
    id_ = world.create().id
    assert refusal(world.uploads.append, id_, 5, DATA[5:10]).reason == Reason.UPLOAD_OFFSET_MISMATCH
    world.uploads.append(id_, 0, DATA[:1000])
    assert refusal(world.uploads.append, id_, 1001, DATA[1001:]).reason == Reason.UPLOAD_OFFSET_MISMATCH
    assert world.uploads.append(id_, 500, DATA[500:2000]).committed_bytes == 2000
    assert world.uploads.append(id_, 0, DATA[:700]).committed_bytes == 2000
    assert world.uploads.append(id_, 1500, DATA[1500:]).state == "complete"


def test_more_bytes_than_announced_are_refused(world: World) -> None:
    assert refusal(world.uploads.append, world.create().id, 0, DATA + b"x").reason == Reason.FIELD_INVALID


@pytest.mark.parametrize("cut", [len(DATA), 70_000])
def test_wrong_bytes_leave_nothing_and_the_upload_begins_anew(world: World, cut: int) -> None:
    id_ = world.create().id
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])

    def send() -> None:
        for start in range(0, len(wrong), cut):
            world.uploads.append(id_, start, wrong[start : start + cut])

    assert refusal(send).reason == Reason.DIGEST_MISMATCH
    assert world.keys == set()
    row = world.uploads.get(id_)
    assert (row.state, row.committed_bytes) == ("open", 0)
    assert world.uploads.append(id_, 0, DATA).state == "complete"


def test_a_death_before_completion_is_made_good_by_the_next_question(world: World) -> None:
    id_ = world.create().id
    world.uploads.append(id_, 0, DATA[:1000])
    # The server stores the last piece, counts it, and is killed before it makes the object.
    world.objects.put(f"uploads/{id_}/{1000:016x}-{len(DATA) - 1000:x}", _reader(DATA[1000:]), len(DATA) - 1000)
    world.uploads._commit(id_, 1000, len(DATA) - 1000)
    assert world.blobs.find(SHA) is None
    assert world.uploads.get(id_).state == "complete"
    assert world.keys == {"objects"}


def test_a_piece_that_was_lost_starts_the_upload_anew(world: World) -> None:
    id_ = world.create().id
    world.uploads.append(id_, 0, DATA[:1000])
    for key in list(world.objects.keys("uploads/")):
        world.objects.delete(key)
    assert refusal(world.uploads.append, id_, 1000, DATA[1000:]).reason == Reason.UPLOAD_OFFSET_MISMATCH
    assert world.uploads.get(id_).committed_bytes == 0
    assert world.uploads.append(id_, 0, DATA).state == "complete"


def test_two_senders_of_the_same_bytes_do_not_disturb_each_other(world: World) -> None:
    id_, failures = world.create().id, []

    def send(step: int) -> None:
        try:
            for start in range(0, len(DATA), step):
                world.uploads.append(id_, start, DATA[start : start + step])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(step,)) for step in (10_000, 17_001, 33_333)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert world.uploads.get(id_).state == "complete"
    with world.blobs.open_buffered(SHA) as body:
        assert body.read() == DATA
    world.uploads.sweep()
    assert world.keys == {"objects"}


def test_an_upload_that_rests_is_given_up(world: World) -> None:
    id_ = world.create().id
    world.uploads.append(id_, 0, DATA[:1000])
    world.now += HOUR * 0.9
    world.uploads.append(id_, 1000, DATA[1000:2000])
    world.now += HOUR * 0.9
    world.uploads.sweep()
    assert world.uploads.get(id_).committed_bytes == 2000
    world.now += HOUR * 0.2
    assert refusal(world.uploads.append, id_, 2000, DATA[2000:]).reason == Reason.UPLOAD_EXPIRED
    world.uploads.sweep()
    assert world.keys == set()
    assert refusal(world.uploads.append, id_, 2000, DATA[2000:]).reason == Reason.UPLOAD_EXPIRED
    assert world.create().committed_bytes == 0
    assert world.uploads.append(id_, 0, DATA).state == "complete"


def test_what_was_given_up_long_ago_is_forgotten(world: World) -> None:
    id_ = world.create().id
    world.uploads.append(id_, 0, DATA[:1000])
    for time, state in ((HOUR, "expired"), (KEPT - timedelta(minutes=1), "expired")):
        world.now += time + timedelta(seconds=1)
        world.uploads.sweep()
        assert world.uploads.get(id_).state == state
    world.now += timedelta(minutes=1)
    world.uploads.sweep()
    assert refusal(world.uploads.get, id_).reason == Reason.RESOURCE_NOT_FOUND
    assert world.create().state == "open"


def test_pieces_that_nobody_counts_are_swept(world: World) -> None:
    id_ = world.create().id
    world.uploads.append(id_, 0, DATA[:1000])
    world.objects.put("uploads/gone/0", _reader(b"x"), 1)
    world.uploads.sweep()
    assert {key.split("/")[1] for key in world.objects.keys("uploads/")} == {id_}


def test_the_number_of_open_uploads_is_bounded(catalog: Catalog, tmp_path: Path) -> None:
    world = World(catalog, tmp_path / "store", max_open=2)
    first = world.create(b"a")
    world.create(b"b")
    error = refusal(world.create, b"c")
    assert error.reason == Reason.TOO_MANY_UPLOADS
    assert "raise the storage service's limit" in error.remedy
    world.uploads.append(first.id, 0, b"a")
    assert world.create(b"c").state == "open"


def _reader(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)
