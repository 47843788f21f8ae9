"""`metadata.csv`: one row a case, with its source, its grid and the volume of each organ."""

import csv
import io

from services.cli.release.contents import Contents, ReleaseCase
from services.core.rpc.convert import geometry_from_proto

METADATA = "metadata.csv"
_FACTS = ("case", "split", "dataset", "source_id", "hospital", "phase", "licence")
_GRID = ("shape_i", "shape_j", "shape_k", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "orientation")


def metadata(contents: Contents) -> str:
    """The table of a release's cases as CSV.

    `split` is "train" or "test"; scans that came twice are on one side. `shape_*` counts voxels and `spacing_*_mm` is
    the distance of their centres along the index axes of the CT; `<organ>_ml` is the organ's volume: 0 if it is absent,
    empty if it is unknown. Other empty cells are not known.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*_FACTS, *_GRID, *(f"{organ}_ml" for organ in contents.class_map.organs)))
    rows.writerows(_row(case, contents) for case in contents.cases)
    return text.getvalue()


def _row(case: ReleaseCase, contents: Contents) -> list[str]:
    volume = case.volume
    grid = geometry_from_proto(volume.geometry)
    volumes_ml = {organ.organ: f"{organ.volume_mm3 / 1000:.3f}" for organ in case.labels.organs}
    return [
        case.name,
        contents.sides[volume.name],
        volume.dataset,
        volume.source_id,
        volume.hospital,
        volume.phase,
        volume.licence,
        *map(str, grid.shape),
        *(f"{spacing:.6g}" for spacing in grid.spacing_mm),
        grid.orientation,
        *(volumes_ml.get(organ, "") for organ in contents.class_map.organs),
    ]
