"""The clock of reviewers who are a script: the same one wherever a benchmark lets the cost model learn."""

from services.scheduler.acquisition.cost import Work


def review_minutes(work: Work) -> float:
    """3 minutes a case, 2 for every organ that asks for a look and half a minute a region."""
    return 3.0 + 2.0 * work.organs + 0.5 * work.regions
