"""Files as their authors publish them, in miniature: the layouts are theirs, the weights are drawn."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from services.serving.card import Card, Network, Outputs
from services.serving.imports.draft import Wishes
from services.serving.imports.importing import Report, import_model
from services.serving.networks import build_own

SIDE = 16
SMALL_UNET = {"channels": [4, 8], "strides": [2]}
PLAN = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}


def small_card(architecture: str = "unet", **changes: Any) -> Card:
    """Two organs, a window of 16 voxels."""
    entries: dict[str, Any] = {
        "name": "small",
        "label": "1",
        "summary": "A test's.",
        "intended_use": "Tests. Not for clinical use.",
        "network": Network(architecture=architecture, arguments=SMALL_UNET),
        "class_map": "abdomenatlas-1.0",
        "organs": ("liver", "spleen"),
        "grid_spacing_mm": 1.5,
        "working_factor": 1,
        "hu_window": (-175, 250),
        "window": (SIDE, SIDE, SIDE),
        "overlap": 0.5,
        "cpu_runtime": "torch",
    }
    return Card(**entries | changes)


def card_file(card: Card, folder: Path) -> str:
    """The path of a file that holds the card."""
    path = folder / f"{card.name}-card.yaml"
    path.write_text(yaml.safe_dump(card.model_dump(mode="json", exclude_none=True), sort_keys=False))
    return str(path)


def drawn(network: nn.Module) -> nn.Module:
    """The network in evaluation with every number drawn, so that none is a default."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return network.eval()


def checkpoint(network: nn.Module, path: Path, prefix: str = "module.") -> Path:
    """As SuPreM's and AbdomenAtlas's training saves: net, optimizer, scheduler, epoch."""
    optimizer = torch.optim.AdamW(network.parameters())
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    saved = {"net": state, "optimizer": optimizer.state_dict(), "scheduler": {"_step_count": 3}, "epoch": 2}
    torch.save(saved, path)
    return path


def nnunet_folder(
    folder: Path,
    labels: dict[str, Any],
    *,
    mark: dict[str, Any] | None = None,
    network: Network | None = None,
    plan: dict[str, Any] | None = None,
) -> tuple[Path, nn.Module]:
    """A result folder of nnU-Net v2 with one fold, and its network.

    `mark` replaces entries of the plan, `plan` what its configuration says of the network.
    """
    has_regions = any(isinstance(label, list) for label in labels.values())
    count = len(labels) - has_regions
    outputs = Outputs(activation="sigmoid" if has_regions else "softmax", count=count, channels={"liver": (0,)})
    own = drawn(build_own(small_card(organs=("liver",), outputs=outputs, network=network or planned())))
    result = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (result / "fold_0").mkdir(parents=True)
    plans = {
        "dataset_name": "Dataset701_Small",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 60.0, "std": 100.0, "percentile_00_5": -140.0, "percentile_99_5": 260.0}
        },
        "configurations": {
            "base": {"spacing": [1.5, 1.5, 1.5], "normalization_schemes": ["CTNormalization"]},
            "3d_fullres": {
                "inherits_from": "base",
                "patch_size": [SIDE, 24, 32],
            }
            | (plan or described("PlainConvUNet", PLAN)),
        },
    } | (mark or {})
    (result / "plans.json").write_text(json.dumps(plans))
    (result / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    saved = {
        "network_weights": own.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"mean_fg_dice": [np.float64(0.7), np.float32(0.8)], "lrs": [0.01]},
        "_best_ema": np.float64(0.75),
        "current_epoch": 1000,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "options": Namespace(fold=0),
    }
    torch.save(saved, result / "fold_0" / "checkpoint_final.pth")
    return result, own


def described(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A configuration's words for its network, as plans have them since version 2.4."""
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {"architecture": architecture}


def planned() -> Network:
    """nnU-Net's network of two stages."""
    return Network(architecture="plain_conv_unet", arguments=PLAN)


def bundle_folder(folder: Path, names: list[str], **inference: Any) -> tuple[Path, nn.Module]:
    """A MONAI bundle whose configuration has the Python that real ones have."""
    outputs = Outputs(activation="softmax", count=len(names), channels={"liver": (1,)})
    network = drawn(build_own(small_card(organs=("liver",), outputs=outputs)))
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {
        "imports": ["$import glob"],
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "key": "image",
        "spacing": [1.5, 1.5, 1.5],
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": len(names),
            **SMALL_UNET,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@key"},
                {"_target_": "Orientationd", "keys": "@key", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "@key", "pixdim": "@spacing"},
                {"_target_": "ScaleIntensityRanged", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [48, 32, SIDE],
            "overlap": 0.5,
            "device": "@device",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
    } | inference
    metadata = {
        "version": "0.2.0",
        "description": "Organs in CT.",
        "data_source": "Somewhere.",
        "network_data_format": {"outputs": {"pred": {"channel_def": {str(i): name for i, name in enumerate(names)}}}},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder, network


def imported(source: Path, repository: Path, *, replace: bool = False, write: bool = True, **wishes: Any) -> Report:
    """Import under the name "mine"."""
    return import_model(source, repository, Wishes(name="mine", **wishes), replace=replace, write=write)
