"""A MONAI bundle: configs/metadata.json, configs/inference.json and models/model.pt.

A bundle's configuration is a program: texts that begin with "$" are Python. None is evaluated here. References such as
"@pixdim" are followed, and whatever would need Python has to be said by whoever imports.
"""

from pathlib import Path
from typing import Any

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, Network, Outputs
from services.serving.imports.draft import Draft, Wishes, below, read_json, read_yaml, reason
from services.serving.imports.grid import placed, window_of
from services.serving.imports.naming import channels_by_organ, require_organs

MARK = "configs/metadata.json"
_INFERENCE = ("configs/inference.json", "configs/inference.yaml", "configs/evaluate.json", "configs/train.json")
_WEIGHTS = ("models/model.pt", "models/model.ts")
_ARCHITECTURES = {"SwinUNETR": "swinunetr", "UNETR": "unetr", "UNet": "unet", "SegResNet": "segresnet"}
_RENAMED = {"pos_embed": "proj_type"}
"""Arguments that MONAI called otherwise in earlier versions."""
_IMPLIED = ("_target_", "spatial_dims", "in_channels", "out_channels", "img_size", "use_checkpoint")
"""Arguments that the card says anyway, or that change nothing in evaluation."""


def draft(folder: Path, wishes: Wishes) -> Draft:
    """The card of a bundle. Raises FIELD_INVALID, CLASS_MAP_MISMATCH, GRID_MISMATCH or RESOURCE_NOT_FOUND."""
    metadata = read_json(below(folder, MARK))
    config = _Config(_inference(folder))
    try:
        card = _card(metadata, config, wishes)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _unclear(reason(error)) from error
    names = [wishes.checkpoint] if wishes.checkpoint else [name for name in _WEIGHTS if (folder / name).is_file()]
    weights = below(folder, names[0] if names else _WEIGHTS[0])
    return Draft(card, f"MONAI bundle {str(metadata.get('version', ''))[:20]}".strip(), weights)


class _Config:
    """The configuration with references followed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def value(self, found: Any, depth: int = 8) -> Any:
        """`found`, or what it refers to. Raises FIELD_INVALID for Python."""
        if not isinstance(found, str) or not depth:
            return found
        if found.startswith("$"):
            raise _unclear(f"it computes {found[:80]!r} in Python, which is not run")
        if not found.startswith("@"):
            return found
        place: Any = self._root
        for part in found[1:].replace("::", "#").split("#"):
            place = place[int(part)] if isinstance(place, list) else place[part]
        return self.value(place, depth - 1)

    def section(self, *names: str) -> dict[str, Any]:
        """The first section of these names, {} if there is none."""
        return next((self._root[name] for name in names if isinstance(self._root.get(name), dict)), {})

    def transforms(self, *sections: str) -> dict[str, dict[str, Any]]:
        """The transforms of a section by the name of their class, without its ending d."""
        listed = self.value(self.section(*sections).get("transforms", []))
        steps = [self.value(step) for step in listed]
        return {
            str(step["_target_"]).rpartition(".")[2].removesuffix("d"): step
            for step in steps
            if isinstance(step, dict) and "_target_" in step
        }


def _card(metadata: dict[str, Any], config: _Config, wishes: Wishes) -> Card:
    before, after = config.transforms("preprocessing"), config.transforms("postprocessing")
    network = config.section("network_def", "network")
    axes = wishes.axes or str(config.value(before.get("Orientation", {}).get("axcodes", "RAS")))
    spacing = [float(mm) for mm in config.value(before["Spacing"]["pixdim"])]
    low, high, intensity = _intensities(config, before)
    window = config.section("inferer")
    outputs = _outputs(metadata, network, config, after, wishes.organs)
    kind = str(config.value(network["_target_"])).rpartition(".")[2]
    if kind not in _ARCHITECTURES:
        raise _unclear(f"networks of the class {kind[:80]!r} are not known; known: {', '.join(_ARCHITECTURES)}")
    if int(config.value(network.get("in_channels", 1))) != 1:
        raise _unclear("the network takes more than one channel")
    arguments = {
        _RENAMED.get(name, name): config.value(value) for name, value in network.items() if name not in _IMPLIED
    }
    return Card(
        name=wishes.name,
        label=f"imported-{str(metadata.get('version', '0'))[:20]}",
        summary=str(metadata.get("description", metadata.get("task", "MONAI bundle")))[:200],
        intended_use=str(metadata.get("intended_use", "As its authors say. Not for clinical use."))[:300],
        network=Network(architecture=_ARCHITECTURES[kind], arguments=arguments),
        class_map="abdomenatlas-1.1",
        organs=tuple(outputs.channels),
        **placed(spacing, axes, wishes.grid_mm),
        hu_window=(low, high),
        intensity=intensity,
        axes=axes,
        window=window_of([int(side) for side in config.value(window["roi_size"])], axes),
        overlap=float(config.value(window.get("overlap", 0.25))),
        gaussian_sigma=0.125,
        outputs=outputs,
        cpu_runtime="torch" if kind == "UNETR" else "openvino",
        trained_on={"data": str(metadata.get("data_source", ""))[:200]},
    )


def _outputs(
    metadata: dict[str, Any],
    network: dict[str, Any],
    config: _Config,
    after: dict[str, dict[str, Any]],
    chosen: dict[str, str],
) -> Outputs:
    defined = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    names = {int(channel): str(name) for channel, name in defined.items()}
    channels = require_organs(channels_by_organ(names, chosen), names.values())
    is_sigmoid = config.value(after.get("Activations", {}).get("sigmoid", False)) is True
    count = int(config.value(network["out_channels"]))
    return Outputs(activation="sigmoid" if is_sigmoid else "softmax", count=count, channels=channels)


def _intensities(config: _Config, before: dict[str, dict[str, Any]]) -> tuple[float, float, tuple[float, float]]:
    step = before.get("ScaleIntensityRange")
    if step is None or config.value(step.get("clip", False)) is not True:
        raise _unclear("intensities are not clipped to a fixed range of HU (ScaleIntensityRanged with clip)")
    low, high, low_becomes, high_becomes = (
        float(config.value(step[name])) for name in ("a_min", "a_max", "b_min", "b_max")
    )
    return low, high, (low_becomes, high_becomes)


def _inference(folder: Path) -> dict[str, Any]:
    name = next((name for name in _INFERENCE if (folder / name).is_file()), _INFERENCE[0])
    path = below(folder, name)
    return read_yaml(path) if name.endswith(".yaml") else read_json(path)


def _unclear(why: str) -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID,
        f"The bundle does not say what a card needs: {why}.",
        field="configs",
        remedy="Write a card for it (atlas models show paper_swinunetr gives one to start from) and name it with "
        "--card, and models/model.pt as the file.",
    )
