"""Which volumes people should look at, what it costs them, what it gains, and when they may stop.

Pure functions on what is known about the volumes of a campaign. A strategy is one function with the signature
`Strategy`; `ORDERS` has them by name.
"""

from services.scheduler.acquisition.candidates import Candidate, Setting, Strategy
from services.scheduler.acquisition.diversity import by_diversity
from services.scheduler.acquisition.orders import at_random, by_error_per_minute, by_priority, by_volume
from services.scheduler.acquisition.standing import by_excess

ORDERS: dict[str, Strategy] = {
    "priority": by_priority,
    "volume": by_volume,
    "error_per_minute": by_error_per_minute,
    "excess": by_excess,
    "diversity": by_diversity,
    "random": at_random,
}

__all__ = ["ORDERS", "Candidate", "Setting", "Strategy"]
