"""Which processes a stack has, in which order, and what each is told."""

from pathlib import Path

import services
from services.cli.stack.child import Child, ServiceProcess
from services.cli.stack.ports import free_ports
from services.cli.stack.state import StateFolder
from services.cli.stack.triton import TritonServer
from services.core.errors import AtlasError, Reason
from services.core.memory import total_bytes

SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")
_HOST = "127.0.0.1"


def default_models() -> Path:
    """The model repository that lies beside the source."""
    return Path(next(iter(services.__path__))).parent / "models"


def plan(state: StateFolder, models: Path) -> list[list[Child]]:
    """The layers of a stack on free ports: what stands behind comes first, who calls it comes later.

    Raises FOLDER_EMPTY if `models` is not a model repository.
    """
    if not any(models.glob("*/config.pbtxt")):
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            "This is not a Triton model repository: no folder in it has a config.pbtxt.",
            field=str(models),
            remedy="Name one with --models or ATLAS_MODELS.",
        )
    ports = free_ports(2 * len(SERVICES) + 2)
    address = {name: f"{_HOST}:{port}" for name, port in zip(SERVICES, ports, strict=False)}
    metrics = {name: f"{_HOST}:{port}" for name, port in zip(SERVICES, ports[len(SERVICES) :], strict=False)}
    triton = TritonServer(
        models, _folder(state, "triton"), log_path=state.log("triton"), grpc_port=ports[-2], metrics_port=ports[-1]
    )
    # Four services and Triton share one machine here; alone, a service takes half of it.
    memory = {"memory_bytes": str(total_bytes() // 5)}
    own: dict[str, dict[str, str]] = {
        "storage": {
            "database_url": f"sqlite:///{_folder(state, 'storage') / 'catalog.db'}",
            "objects": f"file:{_folder(state, 'storage') / 'objects'}",
            **memory,
        },
        "inference": {
            "storage": address["storage"],
            "triton": triton.address,
            "model_repository": str(models.resolve()),
            **memory,
        },
        "uncertainty": {"storage": address["storage"], **memory},
        "merging": {"storage": address["storage"], **memory},
        "scheduler": {
            "database_url": f"sqlite:///{_folder(state, 'scheduler') / 'scheduler.db'}",
            "training_models": str(models.resolve()),
            "training_folder": str(_folder(state, "trainings")),
            **{name: address[name] for name in SERVICES if name != "scheduler"},
        },
    }

    def service(name: str) -> Child:
        settings = {
            "host": _HOST,
            "port": address[name].rsplit(":", 1)[1],
            "metrics_port": metrics[name].rsplit(":", 1)[1],
            **own[name],
        }
        environment = {f"ATLAS_{name}_{key}".upper(): value for key, value in settings.items()}
        return ServiceProcess(name, address[name], metrics[name], state.log(name), environment)

    return [
        [service("storage"), triton],
        [service("inference"), service("uncertainty"), service("merging")],
        [service("scheduler")],
    ]


def _folder(state: StateFolder, name: str) -> Path:
    folder = state.root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
