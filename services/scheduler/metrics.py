"""What the scheduler tells Prometheus; autoscaling of GPU pods follows the backlog.

The gauges but `IN_FLIGHT` are read from the database every sweep_seconds, and every replica tells the same: take the
maximum over replicas, not the sum.
"""

from prometheus_client import Counter, Gauge

BACKLOG = Gauge(
    "atlas_scheduler_backlog_volumes",
    "Volumes of all campaigns that wait or are being worked on; at least 1 while a campaign waits for a network.",
)
VOLUMES = Gauge("atlas_scheduler_volumes", "Volumes of all campaigns by their state in the current round.", ["state"])
IN_FLIGHT = Gauge("atlas_scheduler_in_flight", "Volumes and decisions that this process works on now.")
REVIEWS = Gauge("atlas_scheduler_reviews", "Reviews of all campaigns by state.", ["state"])
OPEN_REVIEWS = Gauge("atlas_scheduler_open_reviews", "Reviews that are free to claim.")
OLDEST_REVIEW = Gauge("atlas_scheduler_oldest_open_review_seconds", "How long the oldest free review has waited.")
TRITON_PODS = Gauge(
    "atlas_scheduler_triton_pods",
    "Triton pods that this process wants, where it scales them; 0 while another scheduler does.",
)
SCALING_FAILURES = Counter(
    "atlas_scheduler_scaling_failures", "Looks after which the number of Triton pods could not be kept."
)
STEP_FAILURES = Counter(
    "atlas_scheduler_step_failures",
    "Steps of this process that gave up (plan, predict, score, merge, record), by reason.",
    ["step", "reason"],
)
