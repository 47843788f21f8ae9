"""The strategy that looks for what is unlike everything that was looked at: greedy k-centre.

Sener and Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018: take the
candidate whose nearest centre is farthest, make it a centre, and go on. The largest distance from any volume to its
nearest centre is then at most twice the smallest that is possible (Gonzalez 1985).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.scheduler.acquisition.candidates import Candidate, Setting

Matrix = NDArray[np.float64]


def by_diversity(candidates: Sequence[Candidate], setting: Setting) -> Iterator[Candidate]:
    """Farthest from all that was reviewed or taken first; equally far ones by volume id.

    The first centres are the reviewed volumes. Where there are none, the first taken is the candidate nearest to the
    mean of all. A step costs one pass over the candidates.
    """
    ordered = sorted(candidates, key=lambda c: c.volume)
    if not ordered:
        return
    points = features([*ordered, *sorted(setting.reviewed, key=lambda c: c.volume)])
    mine, centres = _Points(points[: len(ordered)]), points[len(ordered) :]
    far = np.full(len(ordered), np.inf)
    for centre in centres:
        np.minimum(far, mine.squared_to(centre), out=far)
    middle = mine.rows.mean(axis=0)
    following = int(np.argmax(far)) if len(centres) else int(np.argmin(mine.squared_to(middle)))
    for _ in ordered:
        yield ordered[following]
        np.minimum(far, mine.squared_to(mine.rows[following]), out=far)
        # Below every distance, also below that of a volume that equals a centre.
        far[following] = -1.0
        following = int(np.argmax(far))


def features(volumes: Sequence[Candidate]) -> Matrix:
    """One row a volume, for Euclidean distances between them.

    Five blocks weigh the same: log(1 + mm^3) of every organ that any volume has, HU statistics, log of the spacing,
    field of view, and source. A number is standardised over `volumes` (mean 0, population sd 1; 0 where all are equal),
    and its block divided by the square root of the block's width. Two sources are 2 apart, as are two volumes that
    differ by two standard deviations in every number of one of the other blocks.
    """
    organs = sorted({organ for volume in volumes for organ in volume.organs_mm3})
    sources = sorted({volume.source for volume in volumes})
    blocks = [
        _standardised([[math.log1p(v.organs_mm3.get(organ, 0.0)) for organ in organs] for v in volumes]),
        _standardised([v.hu for v in volumes]),
        _standardised([[math.log(mm) for mm in v.spacing_mm] for v in volumes]),
        _standardised([v.extent_mm for v in volumes]),
        np.array([[float(v.source == source) for source in sources] for v in volumes]) * math.sqrt(2.0),
    ]
    return np.hstack(blocks)


def _standardised(rows: Sequence[Sequence[float]]) -> Matrix:
    block = np.array(rows, np.float64).reshape(len(rows), -1)
    if not block.size:
        return block
    spread = block.std(axis=0)
    # Equal numbers may differ from their mean in the last bits, and the spread with them from 0.
    equal = spread <= 1e-9 * np.maximum(1.0, np.abs(block).max(axis=0))
    standard: Matrix = (block - block.mean(axis=0)) / np.where(equal, 1.0, spread)
    standard[:, equal] = 0.0
    return standard / math.sqrt(standard.shape[1])


class _Points:
    """Rows whose squared distances to one point are wanted again and again."""

    def __init__(self, rows: Matrix) -> None:
        self.rows, self._norms = rows, np.einsum("ij,ij->i", rows, rows)

    def squared_to(self, centre: Matrix) -> Matrix:
        """|row|^2 - 2 row . centre + |centre|^2: one pass over the rows and no copy of them.

        Rounded far above the error of float64, because what is equally far shall be equal.
        """
        squared: Matrix = np.round(self._norms - 2.0 * (self.rows @ centre) + centre @ centre, 9)
        return np.maximum(squared, 0.0)
