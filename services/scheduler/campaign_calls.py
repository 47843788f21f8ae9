"""What the calls about campaigns do: blocking functions from request to response."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core import names
from services.core.access import identity
from services.core.errors import AtlasError
from services.core.rpc.paging import Page
from services.scheduler import admission, decisions, demand, items, journal, messages, reports, rounds, sampling
from services.scheduler.campaigns import State
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.workers import Workers

EVENTS_AT_ONCE = 200
Answer = TypeVar("Answer")


def campaign_id(name: str, field: str) -> str:
    """ "c" of "campaigns/c". Raises NAME_INVALID or FIELD_REQUIRED."""
    return names.parse(name, "campaigns/*", field)[0]


class CampaignCalls:
    """Campaigns, their events and their items.

    `wake` tells whoever works that there is something to do, `executor` is this process's name among the schedulers.
    """

    def __init__(
        self, database: Database, workers: Workers, clock: Clock, wake: Callable[[], None], executor: str
    ) -> None:
        self._database, self._workers, self._clock, self._wake = database, workers, clock, wake
        self._executor = executor

    def create(self, request: pb.CreateCampaignRequest) -> pb.CreateCampaignResponse:
        """CreateCampaign."""
        admission.require_well_formed(request)
        known = self._earlier(request)
        if known is None:
            plan = self._networks(lambda: admission.plan(request, self._workers))
            try:
                with self._database.change() as session:
                    known = messages.campaign(rounds.create(session, plan, self._clock()))
            except IntegrityError:
                # Somebody took the id, or repeated the request, while this call asked the other services.
                known = self._earlier(request)
            self._wake()
        return pb.CreateCampaignResponse(campaign=known)

    def _networks(self, ask: Callable[[], Answer]) -> Answer:
        """What `ask` learns of the networks; a refusal that may pass counts as work for them."""
        try:
            return ask()
        except AtlasError as error:
            if error.is_passing:
                # Perhaps there is no GPU pod because there was nothing to do: have one come.
                with self._database.change() as session:
                    demand.ask(session, self._executor, self._clock())
            raise

    def get(self, request: pb.GetCampaignRequest) -> pb.GetCampaignResponse:
        """GetCampaign."""
        name = campaign_id(request.name, "name")
        with self._database.read() as session:
            return pb.GetCampaignResponse(campaign=messages.campaign(journal.find(session, name)))

    def list_campaigns(self, request: pb.ListCampaignsRequest) -> pb.ListCampaignsResponse:
        """ListCampaigns."""
        page = Page.of(request.page_size, request.page_token, "ListCampaigns", (int, str))
        with self._database.read() as session:
            rows, token = page.cut(
                rounds.page(session, page.after, page.size + 1), lambda row: (row.create_time, row.id)
            )
            return pb.ListCampaignsResponse(campaigns=[messages.campaign(row) for row in rows], next_page_token=token)

    def start_round(self, request: pb.StartRoundRequest) -> pb.StartRoundResponse:
        """StartRound."""
        name, actor = campaign_id(request.name, "name"), identity.actor()
        with self._database.read() as session:
            known = journal.find(session, name)
            if not rounds.due(session, known, request.round, request.etag):
                return pb.StartRoundResponse(campaign=messages.campaign(known))
        ensemble = self._networks(lambda: admission.next_ensemble(request.models, self._workers))
        with self._database.change() as session:
            row = rounds.start_next(session, name, request.round, request.etag, self._clock(), actor, ensemble)
            response = pb.StartRoundResponse(campaign=messages.campaign(row))
        self._wake()
        return response

    def start_audit(self, request: pb.StartAuditRequest) -> pb.StartAuditResponse:
        """StartAudit."""
        name, actor = campaign_id(request.name, "name"), identity.actor()
        with self._database.change() as session:
            asked = (request.number, request.etag, request.case_count)
            row = sampling.start_audit(session, name, *asked, self._clock(), actor)
            return pb.StartAuditResponse(campaign=messages.campaign(row))

    def report(self, request: pb.GetCampaignReportRequest) -> pb.GetCampaignReportResponse:
        """GetCampaignReport."""
        name = campaign_id(request.name, "name")
        with self._database.read() as session:
            return pb.GetCampaignReportResponse(report=reports.report(session, journal.find(session, name)))

    def cancel(self, request: pb.CancelCampaignRequest) -> pb.CancelCampaignResponse:
        """CancelCampaign."""
        name = campaign_id(request.name, "name")
        with self._database.change() as session:
            row = rounds.cancel(session, name, request.etag, self._clock(), identity.actor())
            return pb.CancelCampaignResponse(campaign=messages.campaign(row))

    def list_items(self, request: pb.ListItemsRequest) -> pb.ListItemsResponse:
        """ListItems."""
        parent = campaign_id(request.parent, "parent")
        page = Page.of(request.page_size, request.page_token, "ListItems", (int, str), parent)
        with self._database.read() as session:
            journal.find(session, parent)
            rows, token = page.cut(
                items.page(session, parent, page.after, page.size + 1), lambda row: (row.rank, row.volume)
            )
            return pb.ListItemsResponse(items=[messages.item(row) for row in rows], next_page_token=token)

    def events(self, name: str, after: int) -> tuple[list[pb.WatchCampaignResponse], bool]:
        """The next events after a sequence number, and whether the campaign rests and these are its last."""
        with self._database.read() as session:
            events = journal.after(session, name, after, EVENTS_AT_ONCE)
            # Read after the events, so it is never older than they are, whatever the database's isolation.
            row = journal.find(session, name)
            merging = decisions.merging(session, name)
            campaign = messages.campaign(row)
            found = [pb.WatchCampaignResponse(event=messages.event(event), campaign=campaign) for event in events]
            told = max(after, events[-1].sequence if events else 0) >= row.last_sequence
            return found, told and not merging and row.state != State.RUNNING

    def _earlier(self, request: pb.CreateCampaignRequest) -> pb.Campaign | None:
        with self._database.read() as session:
            fingerprint = admission.fingerprint(request)
            row = rounds.earlier(session, request.campaign_id, request.request_id, fingerprint)
            return None if row is None else messages.campaign(row)
