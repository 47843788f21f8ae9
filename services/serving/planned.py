"""The networks of nnU-Net v2, built from a plan's `arch_kwargs`; the classes that it names are looked up in a list."""

from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

_CLASSES: dict[str, type[nn.Module]] = {
    "Conv3d": nn.Conv3d,
    "InstanceNorm3d": nn.InstanceNorm3d,
    "BatchNorm3d": nn.BatchNorm3d,
    "Dropout3d": nn.Dropout3d,
    "LeakyReLU": nn.LeakyReLU,
    "ReLU": nn.ReLU,
}
_NAMED = ("conv_op", "norm_op", "dropout_op", "nonlin")


def plain_conv_unet(channels: int, arguments: dict[str, Any]) -> nn.Module:
    """nnU-Net's usual network. Raises TypeError or ValueError if it does not take the arguments."""
    return PlainConvUNet(input_channels=1, num_classes=channels, **_with_classes(arguments))  # type: ignore[no-any-return]


def residual_encoder_unet(channels: int, arguments: dict[str, Any]) -> nn.Module:
    """That of the "ResEnc" presets. Raises TypeError or ValueError if it does not take the arguments."""
    return ResidualEncoderUNet(  # type: ignore[no-any-return]
        input_channels=1, num_classes=channels, **_with_classes(arguments)
    )


def _with_classes(arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` with "torch.nn.modules.conv.Conv3d" and the like replaced by the class."""
    return arguments | {name: _class(arguments[name]) for name in _NAMED if arguments.get(name) is not None}


def _class(name: str) -> type[nn.Module]:
    module, _, last = name.rpartition(".")
    if not module.startswith("torch.nn") or last not in _CLASSES:
        raise ValueError(f"{name[:80]!r} is none of {', '.join(sorted(_CLASSES))} of torch.nn")
    return _CLASSES[last]
