"""`datalist.json`: the cases of a release as MONAI's `load_decathlon_datalist` reads them."""

from typing import Any

from services.cli.release.contents import Contents
from services.cli.release.split import TEST, TRAIN

DATALIST = "datalist.json"
_KEYS = {TRAIN: "training", TEST: "testing"}


def datalist(contents: Contents) -> dict[str, Any]:
    """Images and label maps by the side of the split, as paths below the folder of the release.

    `known_organs` goes beyond what MONAI asks for: the label map shows an organ that nobody looked for as background.
    """
    listed: dict[str, Any] = {
        "modality": {"0": "CT"},
        "labels": {"0": "background"} | {str(id_): organ for id_, organ in contents.class_map.organs_by_id.items()},
    }
    for side, key in _KEYS.items():
        listed[key] = [
            {
                "image": f"{case.name}/ct.nii.gz",
                "label": f"{case.name}/combined_labels.nii.gz",
                "known_organs": [organ.organ for organ in case.labels.organs],
            }
            for case in contents.cases
            if contents.sides[case.volume.name] == side
        ]
    return listed
