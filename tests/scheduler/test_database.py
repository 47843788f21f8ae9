"""Tables, migrations and transactions on SQLite and PostgreSQL."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url

from services.core.errors import AtlasError, Reason
from services.scheduler import decisions, desk, items, journal, rounds
from services.scheduler.campaigns import ItemState, Kind, State
from services.scheduler.database import Database
from services.scheduler.decisions import Submission
from services.scheduler.desk import Key, Revision
from services.scheduler.ensembles import Ensemble
from services.scheduler.items import Outcome, Work
from services.scheduler.reviews import SECOND, Decision
from services.scheduler.rounds import Acquisition, Plan
from services.scheduler.tables import Base

ENSEMBLE = Ensemble(("models/unet/versions/1",), ("liver",), 1.5, "abdomenatlas-1.0")


def plan(name: str, *volumes: str, share: float = 1.0, request_id: str = "") -> Plan:
    return Plan(name, volumes, ENSEMBLE, "parity", Acquisition(review_share=share), request_id, "f" * 64, "trace")


def outcome(volume: str, priority: int) -> Outcome:
    labels = f"volumes/{volume}/labels/m"
    return Outcome(["p"], f"volumes/{volume}/attentionMaps/a", priority, ["liver"], labels, [], facts={})


def finish(database: Database, name: str, priorities: dict[str, int]) -> None:
    for volume, priority in priorities.items():
        with database.change() as session:
            work = Work(name, journal.find(session, name).round, volume)
            items.ready(session, work, outcome(volume, priority), 20)


def sequences(database: Database, name: str) -> list[int]:
    with database.read() as session:
        return [event.sequence for event in journal.after(session, name, 0, 1000)]


def test_migrations_make_the_tables_that_the_code_has(database: Database) -> None:
    database.migrate()
    with database.change() as session:
        context = MigrationContext.configure(session.connection(), opts={"include_object": _comparable})
        assert compare_metadata(context, Base.metadata) == []


def _comparable(thing: object, name: str | None, kind: str, *_: object) -> bool:
    """Alembic cannot read a descending index back; the migrations' own table is none of the code's."""
    return name not in ("ix_item_queue", "scheduler_migration")


def test_a_database_that_does_not_answer_is_a_passing_error() -> None:
    database = Database(make_url("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    with pytest.raises(AtlasError) as refused, database.read() as session:
        rounds.page(session, None, 1)
    assert refused.value.is_passing
    with pytest.raises(AtlasError) as refused:
        database.occupy("one")
    assert refused.value.is_passing


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtlasError, match="Not a directory") as caught:
        Database(make_url(f"sqlite:///{tmp_path}/file/folder/scheduler.db"))
    assert (caught.value.reason, caught.value.field) == (Reason.DEPENDENCY_UNAVAILABLE, "database_url")


def test_a_database_whose_connections_are_all_taken_is_a_passing_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.core.database._POOL_SECONDS", 0.1)
    database = Database(make_url(database_url), connections=2)
    database.migrate()
    with database.read() as first, database.read() as second:
        assert rounds.page(first, None, 1) == rounds.page(second, None, 1) == []
        with pytest.raises(AtlasError) as refused, database.read() as session:
            rounds.page(session, None, 1)
        assert refused.value.is_passing
    with database.read() as session:
        assert rounds.page(session, None, 1) == []
    database.close()


def test_one_request_makes_one_campaign(database: Database) -> None:
    for _ in range(2):
        with database.change() as session:
            rounds.create(session, plan("c", "a", request_id="once"), 10)
    assert sequences(database, "c") == [1]
    with pytest.raises(AtlasError) as taken, database.change() as session:
        rounds.create(session, plan("c", "a"), 10)
    assert taken.value.reason == Reason.RESOURCE_CONFLICT


def test_work_goes_out_in_windows_most_urgent_and_oldest_first(database: Database) -> None:
    with database.change() as session:
        rounds.create(session, plan("new", "x", "y"), 20)
        rounds.create(session, plan("old", "b", "a"), 10)
    with database.change() as session:
        first = items.to_queue(session, 3)
        assert first == [Work("old", 1, "a"), Work("old", 1, "b"), Work("new", 1, "x")]
        items.queued(session, first)
        assert items.to_queue(session, 3) == []
        assert sorted(items.in_hand(session)) == sorted(first)
        assert items.census(session)[ItemState.PENDING] == 4
    with database.change() as session:
        items.begin(session, first[0], 30)
        items.failed(session, first[0], "broken", 30)
        assert items.to_queue(session, 3) == [Work("new", 1, "y")]


def test_work_that_the_engine_does_not_have_goes_out_again(database: Database) -> None:
    """Whether a volume of it was begun or not, but not what is done."""
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b", "d"), 10)
        works = items.to_queue(session, 3)
        items.queued(session, works)
        items.begin(session, works[0], 11)
        items.failed(session, works[2], "broken", 12)
    for _ in range(2):
        with database.change() as session:
            for work in works:
                items.put_back(session, work, 13)
    with database.change() as session:
        assert items.in_hand(session) == []
        assert items.to_queue(session, 3) == works[:2]


def test_what_is_told_twice_happens_once(database: Database) -> None:
    work = Work("c", 1, "a")
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b"), 10)
    for _ in range(2):
        with database.change() as session:
            assert items.begin(session, work, 11)
            assert items.tell(session, work, Kind.PREDICTED, "volumes/a/predictions/p", 12)
    for _ in range(2):
        with database.change() as session:
            items.ready(session, work, outcome("a", 5), 13)
    with database.change() as session:
        items.failed(session, work, "too late", 14)
        assert items.begin(session, work, 15) is None
        campaign = journal.find(session, "c")
        assert (campaign.ready_count, campaign.failed_count, campaign.state) == (1, 0, State.RUNNING)
    assert sequences(database, "c") == [1, 2, 3]


def test_reviews_come_and_go_and_every_change_is_told(database: Database) -> None:
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b"), 10)
    finish(database, "c", {"a": 5, "b": 50})
    first, second = Key("c", "r1-1"), Key("c", "r1-2")
    with database.change() as session:
        claimed = desk.claim(session, first, "ann", SECOND, 100)
        assert (claimed.volume, claimed.token) == ("b", 1)
    late = 100 + SECOND
    with database.change() as session:
        assert desk.with_ended_leases(session, late) == ["c"]
        assert desk.waiting(session, late) == (2, 20)
        assert {state.name: count for state, count in desk.census(session).items() if count} == {
            "OPEN": 1,
            "CLAIMED": 1,
        }
        assert [row.id for row in desk.page(session, "", 1, None, 10, late)] == ["r1-1", "r1-2"]
        assert desk.page(session, "", 2, None, 10, late) == []
        lost = desk.submit(session, first, 1, Decision.REVISED, Revision("volumes/b/labels/r", "ann"), late, "t")
        assert isinstance(lost, AtlasError)
        assert lost.reason == Reason.LEASE_LOST
    with database.change() as session:
        assert desk.find(session, first).side_versions == ["volumes/b/labels/r"]
        assert desk.sweep(session, "c", late) == 0
        assert decisions.revisions(session, "b") == []
    with database.change() as session:
        token = desk.claim(session, first, "bob", SECOND, late).token
        desk.submit(session, first, token, Decision.REVISED, Revision("volumes/b/labels/r2", "ann"), late, "t")
        submission = Submission(first, token)
        assert decisions.to_queue(session, 10) == [submission]
        decisions.queued(session, [submission])
        assert decisions.to_queue(session, 10) == []
        assert decisions.in_hand(session) == [submission]
        decisions.queued(session, [submission], known=False)
        assert decisions.in_hand(session) == []
        assert decisions.to_queue(session, 10) == [submission]
        assert decisions.revisions(session, "b") == ["volumes/b/labels/r2"]
        assert decisions.merging(session, "c")
    for _ in range(2):
        with database.change() as session:
            decisions.merged(session, submission, "volumes/b/labels/m2", None, late)
    with database.change() as session:
        token = desk.claim(session, second, "ann", SECOND, late).token
        desk.submit(session, second, token, Decision.ACCEPTED, Revision(), late, "t")
        campaign = journal.find(session, "c")
        assert (campaign.state, campaign.open_review_count) == (State.ROUND_DONE, 0)
        events = journal.after(session, "c", 4, 100)
        assert [(Kind(event.kind).name, event.actor) for event in events] == [
            ("REVIEW_CLAIMED", "ann"),
            ("REVIEW_RELEASED", "ann"),
            ("SIDE_VERSION_KEPT", "ann"),
            ("REVIEW_CLAIMED", "bob"),
            ("REVIEW_SUBMITTED", "bob"),
            ("MERGED", ""),
            ("REVIEW_CLAIMED", "ann"),
            ("REVIEW_SUBMITTED", "ann"),
            ("ROUND_DONE", ""),
        ]
    with pytest.raises(AtlasError, match="Every volume"), database.change() as session:
        rounds.start_next(session, "c", 0, "", late)
    assert sequences(database, "c") == list(range(1, 14))


def test_a_decision_in_hand_is_merged_even_if_the_campaign_is_cancelled(database: Database) -> None:
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b"), 10)
    finish(database, "c", {"a": 5, "b": 50})
    key = Key("c", "r1-1")
    with database.change() as session:
        token = desk.claim(session, key, "ann", SECOND, 100).token
        desk.submit(session, key, token, Decision.REVISED, Revision("volumes/b/labels/r", "ann"), 101, "t")
        assert rounds.cancel(session, "c", "", 102).open_review_count == 1
    with database.change() as session:
        decisions.merged(session, Submission(key, token), "volumes/b/labels/m2", None, 103)
        campaign = journal.find(session, "c")
        assert (campaign.state, campaign.open_review_count) == (State.CANCELLED, 0)


def test_a_review_that_is_decided_again_is_merged_again(database: Database) -> None:
    """Even if the workflow engine was faster than our own note that it has the first decision."""
    with database.change() as session:
        rounds.create(session, plan("c", "a"), 10)
    finish(database, "c", {"a": 5})
    key = Key("c", "r1-1")
    for _ in range(2):
        with database.change() as session:
            token = desk.claim(session, key, "ann", SECOND, 100).token
            desk.submit(session, key, token, Decision.REVISED, Revision("volumes/a/labels/r", "ann"), 101, "t")
            submission = Submission(key, token)
            assert decisions.to_queue(session, 10) == [submission]
        with database.change() as session:
            decisions.unmergeable(session, submission, "broken", 102)
            decisions.queued(session, [submission])


def test_a_failed_volume_is_tried_again_in_the_next_round(database: Database) -> None:
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b", share=0.0), 10)
        items.failed(session, Work("c", 1, "a"), "broken", 11)
    finish(database, "c", {"b": 5})
    with database.change() as session:
        campaign = rounds.start_next(session, "c", 0, "", 12)
        assert (campaign.round, campaign.ready_count, campaign.failed_count) == (2, 0, 0)
        assert items.begin(session, Work("c", 1, "a"), 13) is None, "work of a round that is over"
    finish(database, "c", {"a": 1, "b": 5})
    with database.read() as session:
        assert [(item.volume, item.rank, item.state) for item in items.page(session, "c", None, 10)] == [
            ("b", 1, ItemState.READY),
            ("a", 2, ItemState.READY),
        ]


def test_a_round_that_is_named_is_started_once(database: Database) -> None:
    """A repetition after a lost answer finds it started, under the etag that it was started with or none."""
    with database.change() as session:
        rounds.create(session, plan("c", "a", share=0.0), 10)
    with pytest.raises(AtlasError) as running, database.change() as session:
        rounds.start_next(session, "c", 2, "", 11)
    assert running.value.reason == Reason.CAMPAIGN_STATE
    finish(database, "c", {"a": 5})
    with database.read() as session:
        etag = str(journal.find(session, "c").version)
    with pytest.raises(AtlasError) as stale, database.change() as session:
        rounds.start_next(session, "c", 2, "0", 12)
    assert stale.value.reason == Reason.ETAG_MISMATCH
    for given in (etag, etag, ""):
        with database.change() as session:
            campaign = rounds.start_next(session, "c", 2, given, 12)
            assert (campaign.round, campaign.state) == (2, State.RUNNING)
    finish(database, "c", {"a": 5})
    with database.change() as session:
        assert rounds.start_next(session, "c", 2, etag, 13).state == State.ROUND_DONE
        assert rounds.start_next(session, "c", 3, "", 14).round == 3
        starts = [event for event in journal.after(session, "c", 0, 100) if event.kind == Kind.ROUND_STARTED]
        assert [event.round for event in starts] == [1, 2, 3]


@pytest.mark.parametrize("number", [-1, 1, 3])
def test_a_round_that_is_not_next_is_refused(database: Database, number: int) -> None:
    with database.change() as session:
        rounds.create(session, plan("c", "a", share=0.0), 10)
    finish(database, "c", {"a": 5})
    with pytest.raises(AtlasError) as refused, database.change() as session:
        rounds.start_next(session, "c", number, "", 12)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "round")


def test_items_come_by_rank_and_unranked_ones_last_page_by_page(database: Database) -> None:
    with database.change() as session:
        rounds.create(session, plan("c", "a", "b", "d", "e", share=0.0), 10)
        items.failed(session, Work("c", 1, "a"), "broken", 11)
        items.failed(session, Work("c", 1, "b"), "broken", 11)
    finish(database, "c", {"d": 1, "e": 5})
    found: list[str] = []
    after = None
    with database.read() as session:
        while rows := items.page(session, "c", after, 1):
            after = rows[0].rank, rows[0].volume
            found.append(rows[0].volume)
    assert found == ["e", "d", "a", "b"]


def test_campaigns_come_newest_first_page_by_page(database: Database) -> None:
    for name, time in (("a", 10), ("b", 20), ("c", 20)):
        with database.change() as session:
            rounds.create(session, plan(name, "v"), time)
    with database.read() as session:
        assert [row.id for row in rounds.page(session, None, 2)] == ["b", "c"]
        assert [row.id for row in rounds.page(session, (20, "c"), 2)] == ["a"]


def test_many_at_once_leave_no_gap_and_rank_once(database: Database) -> None:
    volumes = [f"v{number}" for number in range(12)]
    with database.change() as session:
        rounds.create(session, plan("c", *volumes, share=0.0), 10)
    threads = [threading.Thread(target=finish, args=(database, "c", {volume: 5})) for volume in volumes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        events = journal.after(session, "c", 0, 100)
        assert [event.sequence for event in events] == list(range(1, 16))
        assert [event.kind for event in events].count(Kind.RANKED) == 1
        assert journal.find(session, "c").ready_count == 12
