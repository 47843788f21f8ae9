"""What Prometheus is told beside the calls."""

from prometheus_client import Counter, Gauge

BYTES = Counter("atlas_storage_bytes", "Bytes of objects received and sent", ["direction"])
OPEN_UPLOADS = Gauge("atlas_storage_open_uploads", "Uploads that are open, as of the last sweep")
