"""The RPCs of the scheduler: each hands its request to a thread. What they do is in the modules of calls."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.scheduler.v1 import training_pb2
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceServicer
from services.scheduler.campaign_calls import CampaignCalls, campaign_id
from services.scheduler.review_calls import ReviewCalls
from services.scheduler.training_calls import TrainingCalls

_WATCHERS = 8


class SchedulerServicer(SchedulerServiceServicer):
    """Campaigns, reviews and trainings."""

    def __init__(
        self, campaigns: CampaignCalls, reviews: ReviewCalls, trainings: TrainingCalls, poll_seconds: float
    ) -> None:
        self._campaigns, self._reviews, self._trainings = campaigns, reviews, trainings
        self._poll_seconds = poll_seconds
        # These wait for seconds: in the threads of all they would keep other calls waiting too.
        self._watching = ThreadPoolExecutor(_WATCHERS, "watching trainings")

    async def CreateCampaign(self, request: pb.CreateCampaignRequest, context: Any) -> pb.CreateCampaignResponse:
        """Start a campaign."""
        return await asyncio.to_thread(self._campaigns.create, request)

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: Any) -> pb.GetCampaignResponse:
        """Read a campaign."""
        return await asyncio.to_thread(self._campaigns.get, request)

    async def ListCampaigns(self, request: pb.ListCampaignsRequest, context: Any) -> pb.ListCampaignsResponse:
        """List campaigns."""
        return await asyncio.to_thread(self._campaigns.list_campaigns, request)

    async def WatchCampaign(
        self, request: pb.WatchCampaignRequest, context: Any
    ) -> AsyncIterator[pb.WatchCampaignResponse]:
        """Follow a campaign until it rests."""
        name, sequence = campaign_id(request.name, "name"), request.after_sequence
        while True:
            found, ends = await asyncio.to_thread(self._campaigns.events, name, sequence)
            for response in found:
                yield response
                sequence = response.event.sequence
            if ends:
                return
            if not found:
                await asyncio.sleep(self._poll_seconds)

    async def StartRound(self, request: pb.StartRoundRequest, context: Any) -> pb.StartRoundResponse:
        """Start the next round."""
        return await asyncio.to_thread(self._campaigns.start_round, request)

    async def StartAudit(self, request: pb.StartAuditRequest, context: Any) -> pb.StartAuditResponse:
        """Draw an audit's sample."""
        return await asyncio.to_thread(self._campaigns.start_audit, request)

    async def GetCampaignReport(
        self, request: pb.GetCampaignReportRequest, context: Any
    ) -> pb.GetCampaignReportResponse:
        """Tell what the reviews have brought."""
        return await asyncio.to_thread(self._campaigns.report, request)

    async def CancelCampaign(self, request: pb.CancelCampaignRequest, context: Any) -> pb.CancelCampaignResponse:
        """Close a campaign."""
        return await asyncio.to_thread(self._campaigns.cancel, request)

    async def ListItems(self, request: pb.ListItemsRequest, context: Any) -> pb.ListItemsResponse:
        """List a campaign's volumes."""
        return await asyncio.to_thread(self._campaigns.list_items, request)

    async def GetReview(self, request: pb.GetReviewRequest, context: Any) -> pb.GetReviewResponse:
        """Read a review."""
        return await asyncio.to_thread(self._reviews.get, request)

    async def ListReviews(self, request: pb.ListReviewsRequest, context: Any) -> pb.ListReviewsResponse:
        """List reviews."""
        return await asyncio.to_thread(self._reviews.list_reviews, request)

    async def ClaimReview(self, request: pb.ClaimReviewRequest, context: Any) -> pb.ClaimReviewResponse:
        """Take a review."""
        return await asyncio.to_thread(self._reviews.claim, request)

    async def RenewReview(self, request: pb.RenewReviewRequest, context: Any) -> pb.RenewReviewResponse:
        """Prolong a lease."""
        return await asyncio.to_thread(self._reviews.renew, request)

    async def ReleaseReview(self, request: pb.ReleaseReviewRequest, context: Any) -> pb.ReleaseReviewResponse:
        """Give a review back."""
        return await asyncio.to_thread(self._reviews.release, request)

    async def SubmitReview(self, request: pb.SubmitReviewRequest, context: Any) -> pb.SubmitReviewResponse:
        """Decide a review."""
        return await asyncio.to_thread(self._reviews.submit, request)

    async def StartTraining(
        self, request: training_pb2.StartTrainingRequest, context: Any
    ) -> training_pb2.StartTrainingResponse:
        """Start a training."""
        return await asyncio.to_thread(self._trainings.start, request)

    async def GetTraining(
        self, request: training_pb2.GetTrainingRequest, context: Any
    ) -> training_pb2.GetTrainingResponse:
        """Read a training."""
        return await asyncio.to_thread(self._trainings.get, request)

    async def ListTrainings(
        self, request: training_pb2.ListTrainingsRequest, context: Any
    ) -> training_pb2.ListTrainingsResponse:
        """List trainings."""
        return await asyncio.to_thread(self._trainings.list_trainings, request)

    async def WatchTraining(
        self, request: training_pb2.WatchTrainingRequest, context: Any
    ) -> AsyncIterator[training_pb2.WatchTrainingResponse]:
        """Follow a training to its end."""
        known = None
        while True:
            loop = asyncio.get_running_loop()
            found, ended = await loop.run_in_executor(self._watching, self._trainings.watch, request.name, known)
            if found != known:
                yield training_pb2.WatchTrainingResponse(training=found)
            if ended:
                return
            known = found

    async def CancelTraining(
        self, request: training_pb2.CancelTrainingRequest, context: Any
    ) -> training_pb2.CancelTrainingResponse:
        """End or forget a training."""
        return await asyncio.to_thread(self._trainings.cancel, request)
