"""A campaign on the terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.output import err, say, table
from services.cli.watching import Tally, describe
from services.core.texts import amount


def show_progress(messages: Iterable[sched.WatchCampaignResponse]) -> None:
    """Show a campaign's stages and last events on stderr while it runs; without a terminal, one line an event."""
    tally = Tally()
    if not err.is_terminal:
        for message in messages:
            say(describe(message.event))
        return
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        for message in messages:
            tally.add(message)
            live.update(_picture(tally))


def state_name(campaign: sched.Campaign) -> str:
    """State of a campaign in words."""
    return sched.Campaign.State.Name(campaign.state).removeprefix("STATE_").lower().replace("_", " ")


def summary(campaign: sched.Campaign) -> str:
    """A campaign in one line."""
    failed = f", {campaign.failed_count} failed" if campaign.failed_count else ""
    return (
        f"{campaign.name.removeprefix('campaigns/')}: {state_name(campaign)}, round {campaign.round}, "
        f"{campaign.ready_count} of {campaign.volume_count} volumes ready{failed}, "
        f"{amount(campaign.open_review_count, 'review')} open."
    )


def _picture(tally: Tally) -> RenderableType:
    stages = table("", "", "", right=())
    stages.show_header = False
    for name, done, total in tally.stages():
        stages.add_row(name, ProgressBar(total=max(total, 1), completed=done, width=40), f"{done} of {total}")
    lines = Text("\n".join(describe(event) for event in tally.last), style="dim")
    return Group(Text(summary(tally.campaign)), stages, lines)
