"""What the calls about campaigns do: blocking functions from request to response."""

from collections.abc import Callable

from sqlalchemy.exc import IntegrityError

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core import names
from services.scheduler import admission, desk, items, journal, messages, paging, rounds
from services.scheduler.campaigns import State
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.workers import Workers

EVENTS_AT_ONCE = 200


def campaign_id(name: str, field: str) -> str:
    """ "c" of "campaigns/c". Raises NAME_INVALID or FIELD_REQUIRED."""
    return names.parse(name, "campaigns/*", field)[0]


class CampaignCalls:
    """Campaigns, their events and their items. `wake` tells whoever works that there is something to do."""

    def __init__(self, database: Database, workers: Workers, clock: Clock, wake: Callable[[], None]) -> None:
        self._database, self._workers, self._clock, self._wake = database, workers, clock, wake

    def create(self, request: pb.CreateCampaignRequest) -> pb.CreateCampaignResponse:
        """CreateCampaign."""
        admission.require_well_formed(request)
        known = self._earlier(request)
        if known is None:
            plan = admission.plan(request, self._workers)
            try:
                with self._database.change() as session:
                    known = messages.campaign(rounds.create(session, plan, self._clock()))
            except IntegrityError:
                # Somebody took the id, or repeated the request, while this call asked the other services.
                known = self._earlier(request)
            self._wake()
        return pb.CreateCampaignResponse(campaign=known)

    def get(self, request: pb.GetCampaignRequest) -> pb.GetCampaignResponse:
        """GetCampaign."""
        name = campaign_id(request.name, "name")
        with self._database.read() as session:
            return pb.GetCampaignResponse(campaign=messages.campaign(journal.find(session, name)))

    def list_campaigns(self, request: pb.ListCampaignsRequest) -> pb.ListCampaignsResponse:
        """ListCampaigns."""
        size = paging.size(request.page_size)
        before = paging.key(request.page_token, "ListCampaigns", (), (int, str))
        with self._database.read() as session:
            rows = rounds.page(session, before and (before[0], before[1]), size + 1)
            more = [(row.create_time, row.id) for row in rows[size - 1 : -1]]
            return pb.ListCampaignsResponse(
                campaigns=[messages.campaign(row) for row in rows[:size]],
                next_page_token=paging.token("ListCampaigns", (), more),
            )

    def start_round(self, request: pb.StartRoundRequest) -> pb.StartRoundResponse:
        """StartRound."""
        name = campaign_id(request.name, "name")
        with self._database.change() as session:
            row = rounds.start_next(session, name, request.etag, self._clock())
            response = pb.StartRoundResponse(campaign=messages.campaign(row))
        self._wake()
        return response

    def cancel(self, request: pb.CancelCampaignRequest) -> pb.CancelCampaignResponse:
        """CancelCampaign."""
        name = campaign_id(request.name, "name")
        with self._database.change() as session:
            row = rounds.cancel(session, name, request.etag, self._clock())
            return pb.CancelCampaignResponse(campaign=messages.campaign(row))

    def list_items(self, request: pb.ListItemsRequest) -> pb.ListItemsResponse:
        """ListItems."""
        size, parent = paging.size(request.page_size), campaign_id(request.parent, "parent")
        after = paging.key(request.page_token, "ListItems", (parent,), (int, str))
        with self._database.read() as session:
            journal.find(session, parent)
            rows = items.page(session, parent, after and (after[0], after[1]), size + 1)
            more = [(row.rank, row.volume) for row in rows[size - 1 : -1]]
            return pb.ListItemsResponse(
                items=[messages.item(row) for row in rows[:size]],
                next_page_token=paging.token("ListItems", (parent,), more),
            )

    def events(self, name: str, after: int) -> tuple[list[pb.WatchCampaignResponse], bool]:
        """The next events after a sequence number, and whether the campaign rests and these are its last."""
        with self._database.read() as session:
            events = journal.after(session, name, after, EVENTS_AT_ONCE)
            # Read after the events, so it is never older than they are, whatever the database's isolation.
            row = journal.find(session, name)
            merging = desk.merging(session, name)
            campaign = messages.campaign(row)
            found = [pb.WatchCampaignResponse(event=messages.event(event), campaign=campaign) for event in events]
            told = max(after, events[-1].sequence if events else 0) >= row.last_sequence
            return found, told and not merging and row.state != State.RUNNING

    def _earlier(self, request: pb.CreateCampaignRequest) -> pb.Campaign | None:
        with self._database.read() as session:
            fingerprint = admission.fingerprint(request)
            row = rounds.earlier(session, request.campaign_id, request.request_id, fingerprint)
            return None if row is None else messages.campaign(row)
