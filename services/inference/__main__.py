"""`python -m services.inference`: wiring."""

from abdomenatlas.inference.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from services.core.memory import MemoryGate
from services.core.rpc.server import run
from services.core.storage import Storage
from services.inference.cache import GridCache
from services.inference.prediction import Predictor
from services.inference.promotion import Promoter
from services.inference.servicer import InferenceServicer
from services.inference.settings import Settings
from services.inference.triton import Triton
from services.inference.warm import warm


def main() -> None:
    """Serve until told to stop."""
    settings = Settings.load()
    triton, gate = (
        Triton(settings.triton, settings.credentials if settings.triton_tls else None),
        MemoryGate(settings.memory_bytes),
    )
    predictor = Predictor(
        Storage(settings.storage, settings.credentials),
        triton,
        gate,
        GridCache(settings.cache_bytes),
        model_seconds=settings.model_seconds,
    )
    run(
        settings,
        "abdomenatlas.inference.v1.InferenceService",
        add_InferenceServiceServicer_to_server,
        InferenceServicer(
            triton, predictor, Promoter(triton, settings.model_repository), settings.concurrent_predictions
        ),
        gate=gate,
        startup=warm,
    )


if __name__ == "__main__":
    main()
