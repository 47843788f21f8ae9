"""How far two masks of one organ agree: DSC, surface agreement, surface distance, volume.

Pure functions of two masks (k, j, i) on one grid. What they say of empty masks:

| masks | `dsc` | `nsd` | `hd95_mm` |
|---|---|---|---|
| both empty | NaN | NaN | NaN |
| one empty | 0 | 0 | infinite |
| equal, not empty | 1 | 1 | 0 |
"""

from services.core.metrics.agreement import Agreement, agreement, warm
from services.core.metrics.hausdorff import hd95_mm
from services.core.metrics.nsd import nsd
from services.core.metrics.overlap import dsc

__all__ = ["Agreement", "agreement", "dsc", "hd95_mm", "nsd", "warm"]
