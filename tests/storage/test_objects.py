"""One contract for all object stores."""

import io
import os
import threading
from pathlib import Path

import pytest

from services.core.errors import AtlasError, Reason
from services.storage.objects.choose import choose
from services.storage.objects.filesystem import FilesystemObjects
from services.storage.objects.port import Objects
from services.storage.settings import Settings
from tests.storage.conftest import Environment

KEY = "objects/ab/abcd"
LARGE = os.urandom(20 * 2**20)


def put(objects: Objects, key: str, data: bytes) -> None:
    objects.put(key, io.BytesIO(data), len(data))


def get(objects: Objects, key: str, offset: int = 0) -> bytes:
    with io.BufferedReader(objects.open(key, offset)) as body:
        return body.read()


class Breaking(io.BytesIO):
    """Data that fails at its end."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() == len(self.getvalue()):
            raise self._error
        return data


def test_what_was_put_is_read_back(objects: Objects) -> None:
    put(objects, KEY, b"voxels")
    assert get(objects, KEY) == b"voxels"
    assert objects.size(KEY) == 6
    assert [get(objects, KEY, offset) for offset in (1, 5, 6)] == [b"oxels", b"s", b""]


def test_large_objects_come_back_whole(objects: Objects) -> None:
    put(objects, KEY, LARGE)
    assert objects.size(KEY) == len(LARGE)
    assert get(objects, KEY) == LARGE
    assert get(objects, KEY, 17 * 2**20) == LARGE[17 * 2**20 :]


def test_a_missing_key_is_not_found(objects: Objects) -> None:
    assert objects.size(KEY) is None
    for offset in (0, 3):
        with pytest.raises(AtlasError) as caught:
            objects.open(KEY, offset)
        assert caught.value.reason == Reason.RESOURCE_NOT_FOUND
    objects.delete(KEY)


def test_putting_again_replaces(objects: Objects) -> None:
    put(objects, KEY, b"first")
    put(objects, KEY, b"second")
    assert get(objects, KEY) == b"second"


def test_keys_are_listed_by_prefix_and_deleted_one_by_one(objects: Objects) -> None:
    keys = {"uploads/a/1", "uploads/a/2", "uploads/b/1", "objects/aa/1"}
    for key in keys:
        put(objects, key, key.encode())
    assert set(objects.keys("uploads/")) == {key for key in keys if key.startswith("uploads/")}
    assert set(objects.keys("uploads/a/")) == {"uploads/a/1", "uploads/a/2"}
    assert list(objects.keys("uploads/c/")) == []
    objects.delete("uploads/a/1")
    objects.delete("uploads/a/2")
    assert set(objects.keys("uploads/")) == {"uploads/b/1"}
    put(objects, "uploads/a/3", b"again")
    assert set(objects.keys("uploads/a/")) == {"uploads/a/3"}


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_data_that_fails_leaves_nothing_and_its_error_passes(objects: Objects, size: int) -> None:
    refusal = AtlasError(Reason.DIGEST_MISMATCH, "It is another file.")
    with pytest.raises(AtlasError) as caught:
        objects.put(KEY, Breaking(LARGE[:size], refusal), size)
    assert caught.value is refusal
    assert objects.size(KEY) is None


def test_data_that_ends_early_leaves_nothing(objects: Objects) -> None:
    with pytest.raises((AtlasError, OSError)):
        objects.put(KEY, io.BytesIO(b"short"), 6)
    assert objects.size(KEY) is None


def test_a_body_closed_half_way_does_no_harm(objects: Objects) -> None:
    put(objects, KEY, LARGE)
    for _ in range(40):
        with io.BufferedReader(objects.open(KEY)) as body:
            assert body.read(100) == LARGE[:100]
    assert get(objects, KEY) == LARGE


def test_many_threads_at_once(objects: Objects) -> None:
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            key, data = f"uploads/{number % 3}/{number}", os.urandom(100_000)
            put(objects, key, data)
            assert get(objects, key) == data
            objects.delete(key)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(objects.keys("uploads/")) == []


class TestFilesystem:
    @pytest.mark.parametrize("key", ["../escape", "objects/../../escape", "/etc/passwd", "objects//x", "a/.hidden", ""])
    def test_keys_cannot_leave_the_folder(self, tmp_path: Path, key: str) -> None:
        objects = FilesystemObjects(tmp_path / "objects")
        with pytest.raises(ValueError, match="not a key"):
            put(objects, key, b"x")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_leftovers_of_a_killed_process_are_removed_and_the_work_of_others_is_not(self, tmp_path: Path) -> None:
        objects = FilesystemObjects(tmp_path)
        (objects._unfinished / "left-by-a-dead-process").write_bytes(b"x")

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                FilesystemObjects(tmp_path)
                assert len(list(objects._unfinished.iterdir())) == 1
                return super().read(size)

        objects.put(KEY, Slow(b"data"), 4)
        assert get(objects, KEY) == b"data"
        assert list(objects._unfinished.iterdir()) == []

    def test_a_file_that_somebody_took_away_is_a_failure(self, tmp_path: Path) -> None:
        objects = FilesystemObjects(tmp_path)

        class Taking(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                for path in objects._unfinished.iterdir():
                    path.unlink()
                return super().read(size)

        with pytest.raises(AtlasError) as caught:
            objects.put(KEY, Taking(b"data"), 4)
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE

    def test_folders_that_were_made_are_synced_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        objects, synced = FilesystemObjects(tmp_path), []
        fsync = os.fsync

        def noting(handle: int) -> None:
            synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", noting)
        put(objects, KEY, b"data")
        assert {tmp_path, tmp_path / "objects", tmp_path / "objects/ab"} <= set(synced)
        synced.clear()
        put(objects, f"{KEY}e", b"data")
        assert tmp_path / "objects/ab" in synced
        assert tmp_path not in synced


class TestS3:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"s3_secret_key": "x" * 40},
            {"s3_access_key": "nobody"},
            {"objects": "s3://there-is-no-such-bucket"},
            {"s3_endpoint": "127.0.0.1:9"},
        ],
    )
    def test_wrong_settings_are_refused_at_the_start(self, s3: Environment, wrong: Environment) -> None:
        with pytest.raises(AtlasError) as caught:
            choose(Settings.model_validate({**s3, **wrong}))
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
        assert s3["s3_secret_key"] not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtlasError, match="Not a directory") as caught:
        choose(Settings(objects=f"file:{tmp_path}/file/objects"))
    assert (caught.value.reason, caught.value.field) == (Reason.DEPENDENCY_UNAVAILABLE, "objects")


@pytest.mark.parametrize(
    "wrong",
    [
        {"objects": "s3://a..b"},
        {"objects": "s3://192.168.1.1"},
        {"s3_endpoint": "127.0.0.1:99999"},
        {"s3_region": "eu west/1"},
    ],
)
def test_names_that_no_s3_server_can_have_are_told(wrong: Environment) -> None:
    given = {"objects": "s3://atlas", "s3_endpoint": "127.0.0.1:9", "s3_access_key": "a", "s3_secret_key": "secret"}
    with pytest.raises(AtlasError, match="S3_ENDPOINT") as caught:
        choose(Settings.model_validate({**given, **wrong}))
    assert caught.value.reason == Reason.FIELD_INVALID
    assert "secret" not in str(caught.value)
