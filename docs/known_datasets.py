"""The page of the datasets that `atlas import --dataset` knows, from their files."""

from services.core import datasets
from services.core.datasets import Dataset

HEAD = """# Datasets

`atlas import --dataset amos22 FOLDER` takes a public dataset as it was downloaded: in its own folders, in nnU-Net's raw
folders (`imagesTr/<case>_0000`, `labelsTr/<case>`), in those of the Medical Segmentation Decathlon, or as case folders
in the BDMAP layout; one case of a dataset that has a folder a case may be named by that folder. Each case keeps its id
in the dataset, its licence and, where the dataset tells them, its hospital and the phase of the contrast agent;
`--case-table` names a CSV file (`case,hospital,licence,phase`) that tells more. A case, of whatever folder, goes in
whole or not at all: of one with a file that is refused neither CT nor labels are taken, every file that cannot be read
is named, and the other cases go in.

- **Ids.** A label map's ids mean what the table below says, also if it is a case folder's `combined_labels.nii.gz` or
  the file that `--label-map` names. An id that is not in it, or a `dataset.json` that gives one another meaning, is
  refused.
- **Versions.** Each map has a version, which rises when the map is mended. A label version tells by which it was read,
  and so does a release. The same files imported again after a map was mended become a new label version, and campaigns
  take that one in place of what the older map made.
- **Class maps.** Files may be imported by both class maps, by `--class-map abdomenatlas-1.1` for organs that 1.0 does
  not have: each import becomes a label version, and a campaign takes the one in the class map of its models.
- **What is listed.** A case that the folder's `dataset.json` lists and that is not there, or that is there and not
  listed, is named and stays out; so does one whose label is listed and missing. A list of images that are not CT alone
  is refused.
- **Unknown is not absent.** An organ is known only if the dataset looked for it. One that it looked for and that has no
  voxels is absent; all others have no mask.
- **Parts.** A tumour or cyst inside an organ counts as the organ (`+` in the table). Where the dataset does not say in
  which (`part_of: any` in its file), each connected one counts as the organ that shares most of its surface, in mm^2;
  the label version says how much.
- **Un-split pairs.** Where kidneys, lungs or adrenal glands are one class, the two largest components are the two
  organs, and the affine says which is left. Two that touch are told apart if they come apart once voxels that meet at
  corners only, or at most 4 mm of their surface, are taken off; each voxel then goes to the nearer one, and the label
  version says so. A pair that has grown together, like a horseshoe kidney, stays unknown.
- **Headers.** All files of a case must lie on the CT's grid. Where a label's header contradicts the CT's, and it is
  certain how the file is meant, it is taken so and the label version notes it: axes in another order, LPS signs over an
  RAS array, an origin left over from before a crop. It is certain where the HU under the labels spread far less in one
  reading than in the other, or, if the header puts them outside the CT, far less than under the same labels moved by
  12 mm. Else, as with labels of another patient, the file is refused with what both readings give. Where a file's sform
  and qform differ, the one that is the CT's grid is taken for labels; a CT is taken by its sform, and refused with both
  readings if they differ in orientation or voxel size. The notes show both.
- **Masks of another CT.** Where headers agree, masks are taken as they are: those of another CT with the same grid are
  not noticed when they come in.
- **Duplicates.** Every volume is compared with all others when it comes in, by a digest of its voxels in canonical
  orientation and by a profile of tissue along the body, which survives cropping, moved or mirrored headers, resampling,
  windowing and compression. `atlas duplicates` lists the groups, without withdrawn volumes; a release keeps each on
  one side of its split. A crop in the plane that cuts into the body is not found, nor surely a copy to whose HU 3 or
  more were added; two phases of one patient are two scans.

A fact with a question mark was not confirmed at its source; below the table stands why. Read the licence of your own
copy in any case. Made from `services/core/datasets/maps/` by `make docs`.

| dataset | version | licence | organs of ours and their labels | layout |
|---|---|---|---|---|
"""


def datasets_page() -> str:
    """Every dataset in a row, then what is uncertain or particular."""
    known = [datasets.load(name) for name in datasets.names()]
    return HEAD + "".join(map(_row, known)) + "".join(map(_remarks, known))


def _row(dataset: Dataset) -> str:
    doubt = dataset.unverified
    organs = ", ".join(
        f"{target.replace('_', ' ')} {'+'.join(str(structure.label) for structure in structures)}"
        for target, structures in dataset.targets.items()
    )
    if dataset.anywhere:
        organs += f"; {'+'.join(str(structure.label) for structure in dataset.anywhere)} in any of them"
    images = "<br>".join(f"`{layout.images}`" for layout in dataset.layouts)
    rule = "; only those that occur are known" if dataset.looks_for == "present" else ""
    cells = (
        f"[{dataset.name}]({dataset.source})" if "://" in dataset.source else dataset.name,
        str(dataset.version),
        dataset.licence + ("?" if "licence" in doubt else ""),
        (organs or "none") + ("?" if "labels" in doubt else "") + rule,
        images + ("?" if "layouts" in doubt else ""),
    )
    return f"| {' | '.join(cells)} |\n"


def _remarks(dataset: Dataset) -> str:
    lines = [*dataset.notes, *(f"{fact} not confirmed: {why}" for fact, why in dataset.unverified.items())]
    return f"\n**{dataset.title}**\n\n" + "".join(f"- {line}\n" for line in lines) if lines else ""
