"""`python -m services.storage`: wiring. `python -m services.storage migrate` only brings the schema up to date."""

import sys
from datetime import timedelta

from abdomenatlas.storage.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from services.core import arrayfile
from services.core.audit.log import AuditLog
from services.core.errors import AtlasError
from services.core.memory import MemoryGate
from services.core.rpc.audit_servicer import AuditServicer
from services.core.rpc.server import run
from services.storage.blobs import Blobs
from services.storage.cases import Cases
from services.storage.catalog import database
from services.storage.catalog.catalog import Catalog
from services.storage.claims import Claims
from services.storage.cleaning import Cleaning
from services.storage.duplicates import Duplicates
from services.storage.label_import import LabelImport
from services.storage.objects.choose import choose
from services.storage.records import Records
from services.storage.servicer import CATALOG_THREADS, StorageServicer
from services.storage.settings import Settings
from services.storage.sweeper import Sweeper
from services.storage.transfers import Transfers
from services.storage.uploads import Uploads
from services.storage.volumes import Volumes


def main() -> None:
    """Serve until told to stop; end with the reason if the stores do not answer."""
    try:
        _serve(Settings.load())
    except AtlasError as error:
        raise SystemExit(str(error)) from None


def _serve(settings: Settings) -> None:
    # As many connections as there are threads that may ask: those of the servicer, of the transfers, of the audit log,
    # and the sweeper.
    threads = CATALOG_THREADS + 2 * settings.concurrent_ingests + 2 * settings.concurrent_streams + 3
    engine = database.connect(settings.database_url.get_secret_value(), threads=threads)
    if sys.argv[1:] == ["migrate"]:
        database.upgrade(engine)
        return
    catalog, objects, gate = Catalog(engine), choose(settings), MemoryGate(settings.memory_bytes)
    claims = Claims(catalog, objects)
    blobs = Blobs(objects, gate, claims.hold)
    uploads = Uploads(
        catalog,
        objects,
        blobs,
        ttl=timedelta(seconds=settings.upload_ttl_seconds),
        unclaimed=timedelta(days=settings.unclaimed_days),
        max_open=settings.max_open_uploads,
    )
    transfers = Transfers(
        uploads,
        blobs,
        max_object_bytes=settings.max_object_bytes,
        concurrent=settings.concurrent_streams,
        idle_seconds=settings.upload_idle_seconds,
    )
    cleaning, records = Cleaning(catalog, blobs, claims), Records(catalog, blobs)
    volumes = Volumes(catalog, blobs, cleaning, gate)
    label_import = LabelImport(catalog, blobs, cleaning, records, gate)
    servicer = StorageServicer(
        transfers,
        volumes,
        records,
        catalog,
        label_import,
        Cases(catalog, volumes, records, label_import),
        Duplicates(catalog),
        concurrent_ingests=settings.concurrent_ingests,
    )
    sweeper = Sweeper((uploads.sweep, claims.sweep, volumes.take_fingerprint), settings.sweep_seconds)

    def startup() -> None:
        database.upgrade(engine)
        arrayfile.warm()
        sweeper.start()

    def shutdown() -> None:
        sweeper.stop()
        engine.dispose()

    run(
        settings,
        "abdomenatlas.storage.v1.StorageService",
        add_StorageServiceServicer_to_server,
        servicer,
        audit=AuditServicer(AuditLog("storage", writing=catalog.writing, reading=catalog.reading)),
        gate=gate,
        startup=startup,
        shutdown=shutdown,
    )


if __name__ == "__main__":
    main()
