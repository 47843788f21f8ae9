"""A result folder of nnU-Net v2: plans.json, dataset.json and fold_X/checkpoint_final.pth.

What a plan says of preprocessing becomes the card: HU are clipped to two percentiles and standardised, the arrays are
(z, y, x) as the reader left them, transposed by the plan. Mirroring at inference is not done.
"""

from pathlib import Path
from typing import Any

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, Network, Outputs
from services.serving.imports.draft import Draft, Wishes, below, read_json, reason
from services.serving.imports.grid import placed, window_of
from services.serving.imports.naming import channels_by_organ, require_organs

MARK = "plans.json"
_CHECKPOINT = "checkpoint_final.pth"
_FULL_SIZE = "3d_fullres"
_REORIENTED = "NibabelIOWithReorient"
_ARCHITECTURES = {"PlainConvUNet": "plain_conv_unet", "ResidualEncoderUNet": "residual_encoder_unet"}


def draft(folder: Path, wishes: Wishes) -> Draft:
    """The card of a result folder. Raises FIELD_INVALID, CLASS_MAP_MISMATCH, GRID_MISMATCH or RESOURCE_NOT_FOUND."""
    plans, dataset = read_json(folder / MARK), read_json(below(folder, "dataset.json"))
    weights = _weights(folder, wishes.checkpoint)
    name = _configuration_name(folder, plans)
    try:
        plan = _configuration(plans, name)
        return Draft(_card(plans, plan, dataset, wishes), f"nnU-Net v2 {name}", weights, _notes(wishes))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The plan does not say what it must: {reason(error)}.",
            field=MARK,
            remedy="Is this the folder of a network that nnU-Net v2 trained?",
        ) from error


def _card(plans: dict[str, Any], plan: dict[str, Any], dataset: dict[str, Any], wishes: Wishes) -> Card:
    if len(dataset.get("channel_names") or dataset["modality"]) != 1 or plan.get("previous_stage"):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "The network takes more than one CT: several channels, or what an earlier stage found.",
            field="dataset.json",
            remedy="Import the full-resolution network of one channel.",
        )
    low, high, intensity = _intensities(plans, plan)
    outputs = _outputs(dataset, wishes.organs)
    axes = _axes(plans, wishes.axes)
    return Card(
        name=wishes.name,
        label="imported",
        summary=f"nnU-Net v2, {plans['dataset_name']}, {plans['plans_name']}"[:200],
        intended_use="As its authors say. Not for clinical use.",
        network=_network(plan),
        class_map="abdomenatlas-1.1",
        organs=tuple(outputs.channels),
        **placed([float(mm) for mm in plan["spacing"]], axes, wishes.grid_mm),
        hu_window=(low, high),
        intensity=intensity,
        axes=axes,
        window=window_of([int(side) for side in plan["patch_size"]], axes),
        overlap=0.5,
        gaussian_sigma=0.125,
        outputs=outputs,
        cpu_runtime="torch",
        trained_on={"data": str(plans["dataset_name"])[:200]},
    )


def _network(plan: dict[str, Any]) -> Network:
    described = plan.get("architecture") or _older(plan)
    arguments = dict(described["arch_kwargs"])
    arguments.pop("deep_supervision", None)
    kind = str(described["network_class_name"]).rpartition(".")[2]
    if kind not in _ARCHITECTURES:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"Networks of the class {kind[:80]!r} are not known.",
            field=MARK,
            remedy=f"Known: {', '.join(_ARCHITECTURES)}.",
        )
    return Network(architecture=_ARCHITECTURES[kind], arguments=arguments)


def _older(plan: dict[str, Any]) -> dict[str, Any]:
    """The architecture of plans from before version 2.4, which spread it over the configuration."""
    stages = len(plan["n_conv_per_stage_encoder"])
    kind = plan["UNet_class_name"]
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    widths = [min(plan["UNet_base_num_features"] * 2**i, plan["unet_max_num_features"]) for i in range(stages)]
    arguments = {
        "n_stages": stages,
        "features_per_stage": widths,
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": plan["conv_kernel_sizes"],
        "strides": plan["pool_op_kernel_sizes"],
        blocks: plan["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": plan["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {"network_class_name": kind, "arch_kwargs": arguments}


def _outputs(dataset: dict[str, Any], chosen: dict[str, str]) -> Outputs:
    """Softmax over the labels; or, where a label is a list (a region), one sigmoid a region in their order."""
    labels = {name: label for name, label in dataset["labels"].items() if name != "ignore"}
    has_regions = any(isinstance(label, list) and len(label) > 1 for label in labels.values())
    if has_regions:
        names = dict(enumerate(name for name in labels if name != "background"))
    else:
        ids = {name: int(label[0] if isinstance(label, list) else label) for name, label in labels.items()}
        names = dict(enumerate(sorted(ids, key=ids.__getitem__)))
    channels = require_organs(channels_by_organ(names, chosen), names.values())
    return Outputs(activation="sigmoid" if has_regions else "softmax", count=len(names), channels=channels)


def _intensities(plans: dict[str, Any], plan: dict[str, Any]) -> tuple[float, float, tuple[float, float]]:
    """The HU that are clipped to, and what they become."""
    if plan["normalization_schemes"] != ["CTNormalization"]:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The intensities are normalised by {plan['normalization_schemes']}, not as CTs are.",
            field=MARK,
            remedy="Only networks with CTNormalization can be served.",
        )
    everything = plans.get("foreground_intensity_properties_per_channel")
    found = (everything or plans["foreground_intensity_properties_by_modality"])["0"]
    low, high = float(found["percentile_00_5"]), float(found["percentile_99_5"])
    mean, deviation = float(found["mean"]), max(float(found["std"]), 1e-8)
    return low, high, ((low - mean) / deviation, (high - mean) / deviation)


def _axes(plans: dict[str, Any], given: str) -> str:
    """Where the network's axes point. Only a reader that reorients says how the files lay."""
    if not given and plans["image_reader_writer"] != _REORIENTED:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The reader {plans['image_reader_writer']} took the training files as they lay, and the folder does not "
            "say how. Left and right depend on it.",
            field=MARK,
            remedy="Say it: --axes SAR if the training files were RAS+, --axes SPL if they were LPS+.",
        )
    base = given or "SAR"
    return "".join(base[axis] for axis in plans["transpose_forward"])


def _weights(folder: Path, chosen: str) -> Path:
    if chosen:
        return below(folder, chosen)
    folds = sorted(path.parent.name for path in folder.glob(f"fold_*/{_CHECKPOINT}"))
    if not folds:
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            f"No fold has a {_CHECKPOINT}.",
            field=folder.name,
            remedy="Name the file with --checkpoint, such as fold_0/checkpoint_best.pth.",
        )
    return below(folder, f"{'fold_all' if 'fold_all' in folds else folds[0]}/{_CHECKPOINT}")


def _configuration_name(folder: Path, plans: dict[str, Any]) -> str:
    """nnU-Net names a folder trainer__plans__configuration."""
    named = folder.resolve().name.rpartition("__")[2]
    known = plans.get("configurations")
    if not isinstance(known, dict):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "The plan has no configurations.",
            field=MARK,
            remedy="Is this the folder of a network that nnU-Net v2 trained?",
        )
    return named if named in known else _FULL_SIZE


def _configuration(plans: dict[str, Any], name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    own = plans["configurations"][name]
    parent = own.get("inherits_from")
    if name in seen:
        raise ValueError("configurations inherit from each other")
    return _configuration(plans, parent, (*seen, name)) | own if parent else dict(own)


def _notes(wishes: Wishes) -> tuple[str, ...]:
    notes = ["Mirroring at inference, which nnU-Net does by default, is not done."]
    if wishes.axes:
        notes.append(f"The training files are taken to lie as --axes {wishes.axes} says.")
    return tuple(notes)
