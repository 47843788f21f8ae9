"""Where voxels of a model went, out of the catalog."""

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.names import parse
from services.core.rpc.paging import Page
from services.core.texts import require_text
from services.storage.catalog.catalog import Catalog


def model_uses(catalog: Catalog, request: pb.ListModelUsesRequest) -> pb.ListModelUsesResponse:
    """A page of uses, oldest first. Blocks. Raises NAME_INVALID, FIELD_INVALID or PAGE_TOKEN_INVALID."""
    version = ""
    if request.model.count("/") > 1:
        model, version = parse(request.model, "models/*/versions/*", "model")
    else:
        (model,) = parse(request.model, "models/*", "model")
    require_text(request.organ, "organ", longest=64)
    filters = (request.model, request.organ, request.dataset, request.newest)
    page = Page.of(request.page_size, request.page_token, "ListModelUses", (int,), *filters)
    (after,) = page.after or (0,)
    found = catalog.model_uses(
        model,
        version,
        organ=request.organ,
        dataset=request.dataset,
        newest=request.newest,
        after=after,
        limit=page.size + 1,
    )
    rows, token = page.cut(found, lambda row: (row[0].sequence,))
    uses = [
        pb.ModelUse(
            label_version=f"volumes/{volume_id}/labels/{label_id}",
            organ=use.organ,
            model=f"models/{use.model}/versions/{use.version}",
            voxels=use.voxels,
            volume_mm3=use.volume_mm3,
            dataset=of_dataset,
        )
        for use, volume_id, label_id, of_dataset in rows
    ]
    return pb.ListModelUsesResponse(uses=uses, next_page_token=token)
