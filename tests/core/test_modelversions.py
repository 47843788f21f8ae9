"""The version policy in a model's config.pbtxt: every form of it, and many who change it at once."""

import threading
from pathlib import Path

import pytest

from services.core import modelversions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (3,)),
        ("version_policy { specific { versions: [ 1, 2 ] } }", (1, 2)),
        ("version_policy: { specific: { versions: 2 versions: 1 } }", (1, 2)),
        ("version_policy { latest { num_versions: 2 } }", (2, 3)),
        ("version_policy { latest { } }", (3,)),
        ("version_policy { all { } }", (1, 2, 3)),
        ("version_policy {\n  all: {}\n}", (1, 2, 3)),
        ("version_policy { }", (3,)),
    ],
)
def test_whatever_policy_there_is_gets_replaced(folder: Path, policy: str, served: tuple[int, ...]) -> None:
    """Triton refuses a configuration with two."""
    modelversions.write_config(folder, f'name: "a"\n{policy}\nmax_batch_size: 0\n')
    assert modelversions.served_in(folder) == served
    modelversions.update_config(folder, lambda config: modelversions.with_served(config, [1]))
    config = (folder / modelversions.CONFIG_FILE).read_text()
    assert config.count("version_policy") == 1
    assert "max_batch_size: 0" in config
    assert modelversions.served_in(folder) == (1,)


def test_no_change_is_lost(folder: Path) -> None:
    """Each of many adds its line to what the others wrote, and leaves nothing beside it."""
    modelversions.write_config(folder, "")

    def add(number: int) -> None:
        for _ in range(20):
            modelversions.update_config(folder, lambda config: f"{config}{number}\n")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (folder / modelversions.CONFIG_FILE).read_text().split()
    assert sorted(lines) == sorted(str(number) for number in range(8) for _ in range(20))
    assert {path.name for path in folder.iterdir()} == {"1", "2", "3", modelversions.CONFIG_FILE}
