"""What the scheduler tells Prometheus; autoscaling of GPU pods follows the backlog."""

from prometheus_client import Gauge

BACKLOG = Gauge("atlas_scheduler_backlog_volumes", "Volumes of all campaigns that wait or are being worked on.")
IN_FLIGHT = Gauge("atlas_scheduler_in_flight", "Volumes and decisions that this process works on now.")
OPEN_REVIEWS = Gauge("atlas_scheduler_open_reviews", "Reviews that are free to claim.")
OLDEST_REVIEW = Gauge("atlas_scheduler_oldest_open_review_seconds", "How long the oldest free review has waited.")
