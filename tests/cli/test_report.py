"""The report holds all it shows, shows it the right way round, and believes no text from outside."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.finding_pb2 import SEVERITY_WARNING, Evidence, Finding
from abdomenatlas.type.v1.geometry_pb2 import VoxelBox
from services.cli.report.colours import heat_rgba, organ_colour
from services.cli.report.facts import read_facts
from services.cli.report.page import render
from services.cli.report.pictures import ct_picture, heat_picture
from services.cli.report.scenes import Row, case_rows
from services.cli.report.story import MAX_REGIONS, duration, tell
from services.core import classmaps
from tests.cli.archive import CAMPAIGN, Archive


def rows(archive: Archive, volume: str) -> list[Row]:
    facts = read_facts(archive.connection, CAMPAIGN)
    case = next(c for c in facts.cases if c.volume.name == volume)
    return case_rows(archive.connection.storage, case, facts.class_map)


def page(archive: Archive, pictured: int = 20) -> str:
    facts = read_facts(archive.connection, CAMPAIGN)
    storage = archive.connection.storage
    return render(tell(facts, lambda case: case_rows(storage, case, facts.class_map), pictured))


def pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_it_loads_nothing_from_elsewhere(archive: Archive) -> None:
    html = page(archive)
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert "<link" not in html
    assert "@import" not in html
    targets = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert targets
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in targets)
    for target in targets:
        if target.startswith("#"):
            assert f'id="{target[1:]}"' in html


def test_texts_from_outside_are_escaped(archive: Archive) -> None:
    html = page(archive)
    assert "<b>set</b>" not in html
    assert "&lt;b&gt;set&lt;/b&gt;" in html


def test_a_revised_case_shows_before_attention_and_after_in_one_place(archive: Archive) -> None:
    before, attention, after = rows(archive, "volumes/case-b")
    assert (before.title, attention.title, after.title) == ("Before the review", "Attention", "After the review")
    for three in zip(before.views, attention.views, after.views, strict=True):
        assert len({view.ct for view in three}) == 1
    axial_before, axial_after = (
        {outline.organ: outline.path for outline in row.views[0].outlines} for row in (before, after)
    )
    assert axial_before["spleen"] != axial_after["spleen"]
    assert all(not view.heat for view in (*before.views, *after.views))
    assert any(view.heat for view in attention.views)


def test_an_unreviewed_case_shows_labels_and_attention(archive: Archive) -> None:
    assert [row.title for row in rows(archive, "volumes/case-a")] == ["Labels", "Attention"]


def test_the_places_to_look_at_stand_beside_the_pictures(archive: Archive) -> None:
    """Most urgent first, with cause, place, box, volume and probability; the pictures go through the first one."""
    item = next(item for item in archive.items if item.volume == "volumes/case-a")
    attention = archive.records[item.attention_map]
    regions = pb.AttentionRegion
    leaks = Finding(
        rule="leak",
        severity=SEVERITY_WARNING,
        message="liver <leaks>.",
        evidence=[Evidence(name="leak_ml", value=5.0), Evidence(name="bridge_below_mm", value=13.0)],
    )
    for rank in range(1, MAX_REGIONS + 3):
        attention.regions.add(
            rank=rank,
            organ="liver",
            cause=regions.CAUSE_PRIOR if rank == 2 else regions.CAUSE_REMOVE,
            box=VoxelBox(first=[1, 2, 3], size=[4, 6, 8]),
            centre_mm=[31.2, -12.0, 5.0],
            volume_mm3=2100.0,
            probability=0.83 if rank == 1 else 0.4,
            findings=[leaks] if rank == 2 else [],
        )
    attention.region_count = MAX_REGIONS + 5
    html = page(archive)
    spacing = np.linalg.norm(np.array(attention.heat.geometry.affine).reshape(3, 4)[:, :3], axis=0)
    box = " x ".join(f"{n * mm:.0f}" for n, mm in zip((4, 6, 8), spacing, strict=True))
    table = html[html.index('class="regions"') :]
    first = table[table.index("<tbody>") : table.index("</tr>", table.index("<tbody>"))]
    for text in ("liver", "the networks doubt that it is here", "R 31, P 12, S 5", box, "2.1", "83 %"):
        assert text in first
    assert "an anatomical rule points here<br>" in table
    assert "warning (leak): liver &lt;leaks&gt;. Leak 5 ml, bridge below 13 mm." in table
    assert table.count("the networks doubt") == MAX_REGIONS - 1
    assert "And 5 more" in table
    assert rows(archive, item.volume)[0].caption == "through the place to look at first, in liver"


def test_left_of_the_patient_is_on_the_viewers_right(archive: Archive) -> None:
    """Case-b's liver has low i on an LPS grid, which is the patient's right: the left side of the picture."""
    axial = rows(archive, "volumes/case-b")[0].views[0]
    starts = {
        outline.organ: float(re.findall(r"M([\d.]+) ", outline.path)[0]) / axial.plane.shape[1]
        for outline in axial.outlines
    }
    assert starts["liver"] < 0.5 < starts["spleen"]
    assert axial.plane.letters == "RLAP"


def test_all_organs_and_origins_are_told(archive: Archive) -> None:
    html = page(archive)
    for organ in classmaps.load().organs:
        assert organ.replace("_", " ") in html
    assert re.search(r'badge source">source<', html)
    assert re.search(r'badge revision">revision<', html)
    assert re.search(r'badge ai">AI<', html)
    assert "unknown: nobody looked for it" in html
    assert "looked for, not there" in html
    assert "revised by Dr. Example" in html
    assert "93 s" in html, "the time from start to ranking"


def test_the_time_per_volume_is_that_of_the_volumes_that_the_newest_round_worked_on(archive: Archive) -> None:
    """Later rounds leave out what was reviewed; decisions on it are merged after the ranking."""
    kinds = sched.CampaignEvent
    history = (
        (1, kinds.KIND_ROUND_STARTED, 0, ""),
        (1, kinds.KIND_MERGED, 30, "a"),
        (1, kinds.KIND_MERGED, 30, "b"),
        (1, kinds.KIND_MERGED, 40, "c"),
        (1, kinds.KIND_RANKED, 40, ""),
        (1, kinds.KIND_MERGED, 50, "c"),
        (2, kinds.KIND_ROUND_STARTED, 100, ""),
        (2, kinds.KIND_FAILED, 130, "a"),
        (2, kinds.KIND_MERGED, 140, "a"),
        (2, kinds.KIND_RANKED, 180, ""),
        (2, kinds.KIND_MERGED, 200, "a"),
        (2, kinds.KIND_FAILED, 210, "c"),
    )
    events = [sched.CampaignEvent(round=number, kind=kind, volume=name) for number, kind, _, name in history]
    for event, (*_, seconds, _) in zip(events, history, strict=True):
        event.time.FromSeconds(1_790_000_000 + seconds)
    facts = replace(read_facts(archive.connection, CAMPAIGN), events=tuple(events))
    assert ("Per volume", "80 s") in tell(facts, lambda _: [], 0).settings


def test_only_the_most_urgent_are_pictured(archive: Archive) -> None:
    html = page(archive, pictured=1)
    assert html.count("<article") == 1
    assert 'id="case-case-b"' in html
    assert "the 1 most urgent of 2 volumes" in html


def test_failures_are_shown(archive: Archive) -> None:
    archive.items[1].error, archive.items[1].label_version = "VOLUME_TOO_LARGE <i>", ""
    archive.items[1].state = sched.CampaignItem.STATE_FAILED
    html = page(archive)
    assert "VOLUME_TOO_LARGE &lt;i&gt;" in html


def test_a_running_campaign_can_be_reported(archive: Archive) -> None:
    archive.state = sched.Campaign.STATE_RUNNING
    assert "Start to ranking" not in page(archive)


def test_the_window_is_abdominal() -> None:
    hu = np.array([[-1000, -160, 40, 240, 3000]], np.float32)
    assert pixels(ct_picture(hu))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_heat_is_transparent_where_there_is_none() -> None:
    heat = np.array([[0.0, 0.05, 0.5, 1.0]], np.float32)
    alpha = heat_rgba(heat)[0, :, 3]
    assert alpha[0] == 0
    assert (np.diff(alpha.astype(int)) > 0).all()
    assert pixels(heat_picture(heat))[0, 0, 3] == 0
    assert heat_picture(np.zeros((3, 3), np.float32)) == ""


def test_every_organ_has_a_colour_of_its_own() -> None:
    organs = classmaps.load("abdomenatlas-1.1").organs
    colours = [organ_colour(organ, index) for index, organ in enumerate(organs)]
    assert len(set(colours)) == len(organs)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in colours)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (200, "3 min 20 s"), (3600 * 5 + 720, "5 h 12 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
