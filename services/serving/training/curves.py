"""What is seen of a run: one JSON line an epoch, TensorBoard files and a picture."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from services.serving.disk import room_for

LOG, PICTURE = "curves.jsonl", "curves.png"
_EVENTS = "tensorboard"


@dataclass(frozen=True)
class Point:
    """One epoch: its number from 1, steps so far, seconds of training so far, mean loss, learning rate at its end, and
    DSC by organ where it was measured."""

    epoch: int
    steps: int
    seconds: float
    loss: float
    rate: float
    dsc: dict[str, float]

    @property
    def mean_dsc(self) -> float | None:
        """Mean over organs."""
        return sum(self.dsc.values()) / len(self.dsc) if self.dsc else None


class Curves:
    """The curves of a run in its folder. A run that goes on after `epoch` epochs forgets what came later."""

    def __init__(self, folder: Path, epoch: int) -> None:
        from tensorboardX import SummaryWriter

        self._folder = folder
        self.points = [point for point in read(folder) if point.epoch <= epoch]
        self._write()
        self._events = SummaryWriter(str(folder / _EVENTS), purge_step=epoch + 1)

    def add(self, point: Point) -> None:
        """Write one epoch down. Raises DISK_FULL."""
        self.points.append(point)
        with room_for(self._folder), (self._folder / LOG).open("a") as log:
            log.write(json.dumps(asdict(point)) + "\n")
        self._events.add_scalar("loss", point.loss, point.epoch)
        self._events.add_scalar("rate", point.rate, point.epoch)
        for organ, dsc in point.dsc.items():
            self._events.add_scalar(f"dsc/{organ}", dsc, point.epoch)
        self._events.flush()

    def close(self) -> None:
        """Draw the picture and close the files."""
        self._events.close()
        draw(self.points, self._folder / PICTURE)

    def _write(self) -> None:
        with room_for(self._folder):
            (self._folder / LOG).write_text("".join(json.dumps(asdict(point)) + "\n" for point in self.points))


def read(folder: Path) -> list[Point]:
    """The epochs in a run's log, as far as they are whole lines."""
    if not (folder / LOG).exists():
        return []
    lines = (folder / LOG).read_text().splitlines(keepends=True)
    return [Point(**json.loads(line)) for line in lines if line.endswith("\n")]


def draw(points: list[Point], path: Path) -> None:
    """Loss above, DSC by organ below, over epochs, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    loss, dsc = figure.subplots(2, 1, sharex=True)
    loss.plot([point.epoch for point in points], [point.loss for point in points], color="black")
    loss.set_ylabel("loss")
    measured = [point for point in points if point.dsc]
    for organ in measured[-1].dsc if measured else ():
        seen = [(point.epoch, point.dsc[organ]) for point in measured if organ in point.dsc]
        dsc.plot(*zip(*seen, strict=True), marker=".", label=organ)
    dsc.set(xlabel="epoch", ylabel="DSC on held-out cases", ylim=(0, 1))
    if measured:
        dsc.legend(fontsize="small", ncols=3)
    with room_for(path):
        figure.savefig(path, dpi=100)
