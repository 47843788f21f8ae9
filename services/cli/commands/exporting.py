"""`atlas export`: a campaign's labels as a release in the BDMAP layout."""

from pathlib import Path
from typing import Annotated

import typer

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.commands.options import STATE, Campaign, Json, State, campaign_name
from services.cli.connection import Connection
from services.cli.output import counted, out, print_json, warn
from services.cli.release.contents import Contents, read_contents
from services.cli.release.provenance import identity
from services.cli.release.split import TEST_SHARE, Lot
from services.cli.release.tarball import require_target, write_tar
from services.cli.release.writer import write_release
from services.core.texts import amount


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(run)


def run(
    campaign: Campaign,
    to: Annotated[Path, typer.Option(help="Folder of the release; new, empty, or holding this very release.")],
    tar: Annotated[
        Path | None, typer.Option(help="Pack the release into this file too, always to the same bytes.")
    ] = None,
    test_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the cases for testing, drawn by lot, duplicates on one side.")
    ] = TEST_SHARE,
    split_seed: Annotated[int, typer.Option(help="Another number draws other cases for testing.")] = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Export the labels of a campaign in the BDMAP layout.

    Each case has `ct.nii.gz` as it was imported, `combined_labels.nii.gz`, `segmentations/<organ>.nii.gz` on the CT's
    own grid, and `provenance.json`, which tells organ by organ what it was made of. An organ that nobody looked for has
    no file; one that is absent has a file without voxels. The folder appears only when it is whole.

    `sources.nii.gz` tells where each voxel comes from. `metadata.csv` has a row for each case: its source, licence,
    grid, volumes of organs, and whether it is for training or testing; `datalist.json` lists them for MONAI,
    `README.md` is the dataset card, `LICENSE.md` tells the licences of the sources. docs/release.md tells all of it.

    Examples: `atlas export first --to releases/first` · `atlas export first --to first --tar first.tar`
    """
    if tar:
        require_target(to, tar)
    connection = Connection.to(state)
    contents = read_contents(connection, campaign_name(campaign), Lot(test_share, split_seed))
    written = export(connection, contents, to)
    if tar:
        write_tar(to, tar)
    if json:
        print_json(
            {
                "folder": str(to),
                "release": identity(contents),
                "cases": len(contents.cases),
                "written": written,
                "left_out": contents.left_out,
            }
        )
    else:
        where = f"exported to {to}" if written else f"already in {to}, undamaged"
        out.print(f"Release {identity(contents)}: {amount(len(contents.cases), 'case')}, {where}.")


def export(connection: Connection, contents: Contents, to: Path) -> bool:
    """Write a release with a progress bar, and warn of what it lacks."""
    done = (sched.Campaign.STATE_ROUND_DONE, sched.Campaign.STATE_CANCELLED, sched.Campaign.STATE_FINISHED)
    if contents.campaign.state not in done:
        open_reviews = amount(contents.campaign.open_review_count, "open review")
        warn(f"{contents.campaign.name} is not done: it has {open_reviews}.")
    for volume, why in contents.left_out.items():
        warn(f"{volume} is left out: {why}")
    with counted("Exporting") as progress:
        task = progress.add_task("", total=len(contents.cases))
        return write_release(
            connection.storage,
            contents,
            to,
            lambda case: progress.update(task, advance=1, description=case.name),
        )
