"""`atlas volumes`, `atlas duplicates` and `atlas datasets`: what is in storage, and what may come in."""

import getpass
from typing import Annotated

import typer

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.commands.options import STATE, Json, State, volume_name
from services.cli.connection import Connection
from services.cli.ingest.duplicates import described
from services.cli.merge_words import changes
from services.cli.output import as_data, out, print_json, table
from services.cli.paging import every
from services.core import datasets
from services.core.texts import amount

volumes = typer.Typer(no_args_is_help=True, help="Volumes in storage: list, show, withdraw.")
Volume = Annotated[str, typer.Argument(help="Id of the volume.", metavar="VOLUME")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(volumes, name="volumes")
    app.command("duplicates")(duplicates)
    app.command("datasets")(known_datasets)


@volumes.command("list")
def list_volumes(
    state: State = STATE,
    dataset: Annotated[str, typer.Option(help="Only volumes of this dataset.")] = "",
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Show withdrawn volumes too.")] = False,
    limit: Annotated[int, typer.Option(help="Show at most this many.", min=1, max=1000)] = 100,
    page: Annotated[str, typer.Option(help="Go on where the last list ended: the token that it showed.")] = "",
    json: Json = False,
) -> None:
    """List volumes by id: dataset, source id, voxels, spacing and licence."""
    request = pb.ListVolumesRequest(page_size=limit, page_token=page, dataset=dataset, show_withdrawn=withdrawn)
    answer = Connection.to(state).storage.rpc.ListVolumes(request)
    if json:
        print_json(as_data(answer))
        return
    rows = table("Volume", "Dataset", "Source id", "Voxels", "Spacing / mm", "Licence", "Hospital")
    for volume in answer.volumes:
        name = volume.name.removeprefix("volumes/") + (" (withdrawn)" if volume.HasField("withdrawal") else "")
        told = (volume.dataset, volume.source_id, _shape(volume), _spacing(volume), volume.licence, volume.hospital)
        rows.add_row(name, *told)
    out.print(rows)
    if answer.next_page_token:
        out.print(f"There are more: --page {answer.next_page_token}")


@volumes.command("show")
def show(volume: Volume, state: State = STATE, json: Json = False) -> None:
    """Show what storage knows of one volume: its file, its label versions, and what was odd."""
    storage, name = Connection.to(state).storage, volume_name(volume)
    found = storage.rpc.GetVolume(pb.GetVolumeRequest(name=name)).volume
    versions = list(every(storage.rpc.ListLabelVersions, pb.ListLabelVersionsRequest(parent=name), "label_versions"))
    if json:
        print_json({**as_data(found), "label_versions": [as_data(version) for version in versions]})
        return
    facts = table("", "")
    for title, value in (
        ("volume", found.name),
        ("dataset", f"{found.dataset} {found.source_id}".strip()),
        ("hospital", found.hospital),
        ("phase", found.phase),
        ("licence", found.licence),
        ("voxels", f"{_shape(found)} of {_spacing(found)} mm, {found.dtype}"),
        ("HU", f"{found.min_hu:.6g} to {found.max_hu:.6g}"),
        ("came", found.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC")),
    ):
        facts.add_row(title, value)
    if found.HasField("withdrawal"):
        facts.add_row("withdrawn", f"{found.withdrawal.reason} ({found.withdrawal.author})")
    out.print(facts)
    for version in versions:
        kind = pb.Origin.Name(version.origin).removeprefix("ORIGIN_").lower()
        organs = ", ".join(f"{organ.organ} {organ.volume_mm3 / 1000:.1f} ml" for organ in version.organs)
        out.print(
            f"{version.name.rsplit('/', 1)[1]}  {kind} by {version.author}{_read_by(version)}: {organs}", soft_wrap=True
        )
        for organ in version.organs:
            for change in changes(organ):
                out.print(f"  {organ.organ}, {change}", soft_wrap=True)
        for note in version.notes:
            out.print(f"  {note}", soft_wrap=True)
    for note in found.notes:
        out.print(note, soft_wrap=True)


@volumes.command("withdraw")
def withdraw(
    volume: Volume,
    reason: Annotated[str, typer.Option(help="Why, in one line.")],
    author: Annotated[str, typer.Option(help="Who withdraws it; default: the user that is logged in.")] = "",
    state: State = STATE,
) -> None:
    """Mark a volume as not to be used any more: new campaigns and releases leave it out. Nothing is deleted."""
    request = pb.WithdrawVolumeRequest(name=volume_name(volume), reason=reason, author=author or getpass.getuser())
    found = Connection.to(state).storage.rpc.WithdrawVolume(request).volume
    out.print(f"{found.name} is withdrawn: {found.withdrawal.reason} ({found.withdrawal.author}).", soft_wrap=True)


def duplicates(state: State = STATE, json: Json = False) -> None:
    """List the groups of volumes that show the same scan, by whatever dataset they came, less those withdrawn."""
    storage = Connection.to(state).storage
    groups = list(every(storage.rpc.ListDuplicateGroups, pb.ListDuplicateGroupsRequest(), "groups"))
    if json:
        print_json([as_data(group) for group in groups])
        return
    for number, group in enumerate(groups, start=1):
        out.print(f"{number}. {', '.join(name.removeprefix('volumes/') for name in group.volumes)}", soft_wrap=True)
        for pair in group.pairs:
            out.print(f"   {described(pair)}", soft_wrap=True)
    out.print(f"{amount(len(groups), 'group')}." if groups else "No two volumes show the same scan.")


def known_datasets(json: Json = False) -> None:
    """List the datasets that `atlas import --dataset` knows, with their licences and organs."""
    known = [datasets.load(name) for name in datasets.names()]
    if json:
        fields = ("name", "version", "title", "licence", "organs")
        print_json([{field: getattr(dataset, field) for field in fields} for dataset in known])
        return
    rows = table("Dataset", "Version", "Licence", "Title", "Organs of ours")
    for dataset in known:
        licence = dataset.licence + ("?" if "licence" in dataset.unverified else "")
        rows.add_row(dataset.name, str(dataset.version), licence, dataset.title, ", ".join(dataset.organs) or "none")
    out.print(rows)
    out.print("A licence with a question mark was not confirmed at the source.")


def _read_by(version: pb.LabelVersion) -> str:
    """By which dataset's class map the files were read, if they spoke one."""
    if not version.dataset_map:
        return ""
    return f", read as {version.dataset_map} version {version.dataset_map_version or 'unknown'}"


def _shape(volume: pb.Volume) -> str:
    return "x".join(map(str, volume.geometry.shape))


def _spacing(volume: pb.Volume) -> str:
    a = volume.geometry.affine
    sizes = [sum(a[row * 4 + column] ** 2 for row in range(3)) ** 0.5 for column in range(3)]
    return " x ".join(f"{size:.3g}" for size in sizes)
