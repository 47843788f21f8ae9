"""What people publish becomes a model that answers as theirs does."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.swin_unetr import SwinUNETR
from torch import Tensor, nn

from services.serving import zoo
from services.serving.card import Network, Outputs, load_card
from services.serving.channels import organ_logits
from services.serving.imports.draft import Wishes
from services.serving.imports.importing import import_model
from services.serving.networks import build_own, load_network
from services.serving.prompted import SwinBody
from services.serving.repository import differing
from tests.serving.imports import published
from tests.serving.imports.published import drawn, imported, small_card


def window(*sides: int) -> Tensor:
    return torch.rand((1, 1, *sides), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def served(repository: Path, name: str, values: Tensor) -> Tensor:
    """Probabilities (organ, z, y, x) of one window by the installed model."""
    card = load_card(repository / name)
    return organ_logits(load_network(repository / name, card)(values)[0], card).sigmoid()


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 1e-5
    assert float(expected.std()) > 1e-3, "an answer that says nothing"


def test_a_checkpoint_is_matched_by_name_whatever_its_order_and_prefix(tmp_path: Path) -> None:
    card = small_card()
    network = drawn(build_own(card))
    state = dict(reversed([(f"module.{name}", value) for name, value in network.state_dict().items()]))
    path = tmp_path / "shuffled.pth"
    torch.save({"epoch": 3, "state_dict": state}, path)
    report = imported(path, tmp_path / "models", card=published.card_file(card, tmp_path))
    assert (report.table, report.matching.prefix) == ("state_dict", "module.")
    assert report.matching.count("matched") == len(state)
    assert differing(tmp_path / "models") == [], "the folder is one that the check of a repository accepts"
    with torch.inference_mode():
        expected = network(window(16, 16, 16))[0].sigmoid()
    close(served(tmp_path / "models", "mine", window(16, 16, 16)), expected)


def test_nnunet_s_classes_intensities_and_patch_become_the_card(tmp_path: Path) -> None:
    """Softmax, percentiles and standardised HU, as its plan says; axes as its reader reorients."""
    labels = {"background": 0, "liver": 1, "spleen": 2}
    folder, network = published.nnunet_folder(tmp_path, labels)
    report = imported(folder, tmp_path / "models")
    card = report.card
    assert (card.hu_window, card.intensity) == ((-140, 260), (-2, 2))
    assert (card.window, card.axes, card.class_map) == ((16, 24, 32), "SAR", "abdomenatlas-1.1")
    assert not report.matching.faults
    values = window(16, 24, 32)
    with torch.inference_mode():
        expected = network(values * 4 - 2)[0].softmax(0)[1:]
    close(served(tmp_path / "models", "mine", values), expected)


def test_regions_of_nnunet_are_sigmoid(tmp_path: Path) -> None:
    """A label that is a list is a region of its own channel; the background has none."""
    folder, network = published.nnunet_folder(tmp_path, {"background": 0, "liver": [1, 2], "cancer": 2, "spleen": 3})
    card = imported(folder, tmp_path / "models").card
    assert card.channels == {"liver": (0,), "spleen": (2,)}
    values = window(16, 24, 32)
    with torch.inference_mode():
        expected = network(values * 4 - 2)[0, [0, 2]].sigmoid()
    close(served(tmp_path / "models", "mine", values), expected)


def test_the_residual_encoders_of_nnunet(tmp_path: Path) -> None:
    arguments = {name: value for name, value in published.PLAN.items() if name != "n_conv_per_stage"}
    arguments["n_blocks_per_stage"] = [1, 1]
    network = Network(architecture="residual_encoder_unet", arguments=arguments)
    plan = published.described("ResidualEncoderUNet", arguments)
    folder, theirs = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1}, network=network, plan=plan)
    assert imported(folder, tmp_path / "models").card.network == network
    values = window(16, 24, 32)
    with torch.inference_mode():
        expected = theirs(values * 4 - 2)[0].softmax(0)[1:]
    close(served(tmp_path / "models", "mine", values), expected)


def test_plans_from_before_version_2_4_and_a_transposed_network(tmp_path: Path) -> None:
    """They spread the architecture over the configuration; the patch follows the transposed axes."""
    plan = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
    }
    labels = {"background": 0, "liver": 1}
    folder, theirs = published.nnunet_folder(tmp_path, labels, plan=plan, mark={"transpose_forward": [2, 0, 1]})
    card = imported(folder, tmp_path / "models").card
    assert (card.axes, card.window) == ("RSA", (24, 32, 16))
    values = window(24, 32, 16)
    with torch.inference_mode():
        expected = theirs(values.permute(0, 1, 4, 2, 3) * 4 - 2)[0].softmax(0)[1:].permute(0, 2, 3, 1)
    close(served(tmp_path / "models", "mine", values), expected)


def test_a_checkpoint_that_was_saved_under_numpy_2(tmp_path: Path) -> None:
    """Its numbers are made by functions whose module has another name since."""
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1})
    path = folder / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data.replace(b"cnumpy.core.multiarray", b"cnumpy._core.multiarray"))
    assert any(b"numpy.core" in data for data in entries.values())
    assert not imported(folder, tmp_path / "models", write=False).matching.faults


def test_parts_of_an_organ_add_up(tmp_path: Path) -> None:
    """Lobes of a lung are classes of their own there, and one organ here."""
    labels = {"background": 0, "lung_upper_lobe_left": 1, "lung_lower_lobe_left": 2, "liver": 3}
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1, "spleen": 2, "pancreas": 3})
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": ' + str(labels).replace("'", '"') + "}"
    )
    card = imported(folder, tmp_path / "models").card
    assert card.channels == {"lung_left": (1, 2), "liver": (3,)}
    values = window(*card.window)
    with torch.inference_mode():
        own = load_network(tmp_path / "models" / "mine", card)(values)[0].softmax(0)
    close(served(tmp_path / "models", "mine", values), torch.stack([own[1] + own[2], own[3]]))


def test_a_bundle_s_network_sees_its_own_axes(tmp_path: Path) -> None:
    """MONAI's arrays are (x, y, z): the window is turned for the network, and its answer back."""
    folder, network = published.bundle_folder(tmp_path / "bundle", ["background", "Liver", "tumour"])
    card = imported(folder, tmp_path / "models", licence="CC0-1.0").card
    assert (card.axes, card.window, card.licence) == ("RAS", (16, 32, 48), "CC0-1.0")
    assert card.channels == {"liver": (1,)}
    values = window(16, 32, 48)
    with torch.inference_mode():
        expected = network(values.permute(0, 1, 4, 3, 2))[0].softmax(0)[1:2].permute(0, 3, 2, 1)
    close(served(tmp_path / "models", "mine", values), expected)


@pytest.mark.parametrize(
    ("spacing", "wished", "grid", "own"),
    [
        ([1.5, 1.5, 2.0], 0, 1.5, (2.0, 1.5, 1.5)),
        ([0.8, 0.8, 2.5], 0, 0.8, (2.5, 0.8, 0.8)),
        ([1.0, 1.0, 1.0], 0, 1.0, None),
        ([1.0, 1.0, 1.0], 1.5, 1.5, (1.0, 1.0, 1.0)),
    ],
)
def test_a_network_on_other_voxels_keeps_them(
    tmp_path: Path, spacing: list[float], wished: float, grid: float, own: tuple[float, ...] | None
) -> None:
    """(x, y, z) there, (z, y, x) here; on the usual grid unless that would blur what it was trained on."""
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"], spacing=spacing)
    card = imported(folder, tmp_path, write=False, grid_mm=wished).card
    assert (card.grid_spacing_mm, card.working_spacing_mm) == (grid, own)


def test_axes_that_point_the_other_way_are_flipped(tmp_path: Path) -> None:
    """A network of LPS arrays as (z, y, x) sees x and y mirrored."""
    labels = {"background": 0, "liver": 1, "spleen": 2}
    folder, network = published.nnunet_folder(tmp_path, labels, mark={"image_reader_writer": "SimpleITKIO"})
    imported(folder, tmp_path / "models", axes="SPL")
    values = window(16, 24, 32)
    with torch.inference_mode():
        expected = network(values.flip(3, 4) * 4 - 2)[0].softmax(0)[1:].flip(2, 3)
    close(served(tmp_path / "models", "mine", values), expected)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_gives_its_tensors_and_not_its_code(tmp_path: Path) -> None:
    card = small_card()
    network = drawn(build_own(card))
    path = tmp_path / "model.ts"
    torch.jit.save(torch.jit.trace(network, window(16, 16, 16)), path)  # type: ignore[no-untyped-call]
    report = imported(path, tmp_path / "models", card=published.card_file(card, tmp_path))
    assert not report.matching.faults
    with torch.inference_mode():
        expected = network(window(16, 16, 16))[0].sigmoid()
    close(served(tmp_path / "models", "mine", window(16, 16, 16)), expected)


def test_a_model_folder_can_be_passed_on(tmp_path: Path) -> None:
    card = small_card()
    path = published.checkpoint(drawn(build_own(card)), tmp_path / "a.pth")
    imported(path, tmp_path / "first", card=published.card_file(card, tmp_path))
    moved = (tmp_path / "first" / "mine").rename(tmp_path / "first" / "anything")
    second = imported(moved, tmp_path / "second").card
    assert second.weights == load_card(moved, "mine").weights


class Universal(nn.Module):
    """SuPreM's U-Net and heads in other words: batch statistics always, and all classes by one grouped convolution."""

    def __init__(self, network: Any, classes: list[int]) -> None:
        super().__init__()
        self.network: Any = network
        self.classes = classes

    def forward(self, values: Tensor) -> Tensor:
        state = dict(self.network.state_dict())

        def convolution(name: str, features: Tensor) -> Tensor:
            features = nn.functional.conv3d(
                features, state[f"{name}.conv1.weight"], state[f"{name}.conv1.bias"], padding=1
            )
            weight, bias = state[f"{name}.bn1.weight"], state[f"{name}.bn1.bias"]
            return nn.functional.batch_norm(features, None, None, weight, bias, training=True).relu()

        def level(name: str, features: Tensor) -> Tensor:
            return convolution(f"{name}.ops.1", convolution(f"{name}.ops.0", features))

        skipped, features = [], values
        for name in ("down_tr64", "down_tr128", "down_tr256"):
            skipped.append(level(f"backbone.{name}", features))
            features = nn.functional.max_pool3d(skipped[-1], 2)
        deepest = features = level("backbone.down_tr512", features)
        for name in ("up_tr256", "up_tr128", "up_tr64"):
            place = f"backbone.{name}"
            weight, bias = state[f"{place}.up_conv.weight"], state[f"{place}.up_conv.bias"]
            features = nn.functional.conv_transpose3d(features, weight, bias, stride=2)
            features = level(place, torch.cat((features, skipped.pop()), 1))
        head = self.network.precls_conv(features)
        text = self.network.text_to_vision(state["organ_embedding"]).relu()[..., None, None, None]
        seen = self.network.GAP(deepest).expand(len(text), -1, -1, -1, -1)
        made = self.network.controller(torch.cat((seen, text), 1)).flatten(1)
        count = len(text)
        w1, w2, w3, b1, b2, b3 = made.split([64, 64, 8, 8, 8, 1], 1)
        answer = head.repeat(1, count, 1, 1, 1)
        answer = nn.functional.conv3d(answer, w1.reshape(-1, 8, 1, 1, 1), b1.flatten(), groups=count).relu()
        answer = nn.functional.conv3d(answer, w2.reshape(-1, 8, 1, 1, 1), b2.flatten(), groups=count).relu()
        answer = nn.functional.conv3d(answer, w3.reshape(-1, 8, 1, 1, 1), b3.flatten(), groups=count)
        return answer[:, self.classes]


def test_suprem_s_prompted_unet_answers_as_its_formulas_say(tmp_path: Path) -> None:
    """With the names, surplus statistics and prefix of what was published, at a quarter of its width."""
    outputs = Outputs(activation="sigmoid", count=32, channels={"liver": (5,), "spleen": (0,)})
    network = Network(architecture="prompted_unet", arguments={"width": 16})
    card = small_card(network=network, outputs=outputs, axes="RAS", window=(16, 32, 16))
    theirs = drawn(build_own(card))
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    for name in [name for name in state if name.endswith("bn1.weight")]:
        state[name.replace("weight", "running_mean")] = torch.zeros_like(state[name])
        state[name.replace("weight", "num_batches_tracked")] = torch.tensor(4)
    path = tmp_path / "supervised_suprem_unet_2100.pth"
    torch.save({"net": state, "epoch": 400}, path)
    report = imported(path, tmp_path / "models", card=published.card_file(card, tmp_path))
    assert report.matching.count("unused") == 28
    values = window(16, 32, 16)
    with torch.inference_mode():
        expected = Universal(theirs, [5, 0])(values.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)[0].sigmoid()
    close(served(tmp_path / "models", "mine", values), expected)


def test_swin_unetr_without_its_output_layer_gives_what_goes_into_it() -> None:
    swin = drawn(SwinUNETR(in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1)))
    body = SwinBody(feature_size=12, depths=(1, 1, 1, 1)).eval()
    body.load_state_dict({name: value for name, value in swin.state_dict().items() if not name.startswith("out.")})
    values = window(32, 32, 64)
    with torch.inference_mode():
        deepest, finest = body(values)
        output: Any = swin.out
        close(output(finest), swin(values))
    assert deepest.shape == (1, 192, 1, 1, 2)


def test_a_unetr_from_before_it_had_what_it_does_not_compute_with(tmp_path: Path) -> None:
    arguments = {"feature_size": 4, "hidden_size": 16, "mlp_dim": 16, "num_heads": 2}
    card = small_card(network=Network(architecture="unetr", arguments=arguments), axes="RAS", window=(16, 32, 48))
    theirs = drawn(build_own(card))
    state = {name: value for name, value in theirs.state_dict().items() if "norm_cross_attn" not in name}
    state["vit.patch_embedding.cls_token"] = torch.zeros(1, 1, 16)
    torch.save({"state_dict": state}, tmp_path / "old.pt")
    report = imported(tmp_path / "old.pt", tmp_path / "models", card=published.card_file(card, tmp_path))
    assert {pairing.ours or pairing.theirs for pairing in report.matching.pairings if pairing.verdict == "unused"} == {
        "vit.patch_embedding.cls_token",
        *(name for name in theirs.state_dict() if "norm_cross_attn" in name),
    }
    values = window(16, 32, 48)
    with torch.inference_mode():
        expected = theirs(values.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)[0].sigmoid()
    close(served(tmp_path / "models", "mine", values), expected)


def test_the_zoo_finds_its_card_by_names_and_number_of_classes(tmp_path: Path) -> None:
    """SuPreM's SegResNet at its published size: 83 tensors, 32 classes, of which 25 are organs of ours."""
    theirs = drawn(build_own(zoo.load("suprem_segresnet")))
    path = published.checkpoint(theirs, tmp_path / "supervised_suprem_segresnet_2100.pth")
    report = import_model(path, tmp_path, Wishes(name="mine", class_map="abdomenatlas-1.0"), replace=False, write=False)
    assert report.matching.count("matched") == 83
    assert report.card.network == zoo.load("suprem_segresnet").network
    assert report.card.class_map == "abdomenatlas-1.0"
    assert report.card.channels == {
        "spleen": (0,), "kidney_right": (1,), "kidney_left": (2,), "gall_bladder": (3,), "liver": (5,),
        "stomach": (6,), "aorta": (7,), "postcava": (8,), "pancreas": (10,),
    }  # fmt: skip
    assert not list(tmp_path.glob("*/model.yaml")), "a dry run writes nothing"


def test_channels_that_follow_a_class_map_are_named_by_it(tmp_path: Path) -> None:
    """The released training code saves 25 classes in the order of AbdomenAtlas 1.1."""
    card = zoo.load("suprem_segresnet")
    plain = card.model_copy(update={"outputs": None, "organs": card.organs})
    path = published.checkpoint(drawn(build_own(plain)), tmp_path / "mine.pth")
    report = imported(path, tmp_path, write=False, labels="abdomenatlas-1.1")
    assert report.card.channels["aorta"] == (0,)
    assert report.card.channels["rectum"] == (24,)
    assert any("abdomenatlas-1.1" in note for note in report.notes)


def test_the_numbers_are_kept_exactly(tmp_path: Path) -> None:
    card = small_card()
    theirs = drawn(build_own(card))
    path = published.checkpoint(theirs, tmp_path / "a.pth")
    imported(path, tmp_path / "models", card=published.card_file(card, tmp_path))
    kept = load_network(tmp_path / "models" / "mine", load_card(tmp_path / "models" / "mine")).state_dict()
    assert all(np.array_equal(value, kept[name]) for name, value in theirs.state_dict().items())
