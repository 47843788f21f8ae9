"""Training on several devices: one process a device, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

# Its default arguments keep the process group there is when it is imported. DistributedDataParallel imports it; then
# the group outlives destroy_process_group, and gloo's threads meet the interpreter's end, which aborts now and then.
import torch.distributed.nn
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Group:
    """This process's place among `size` that train together, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have."""
        return self.rank == 0

    def replica(self, network: nn.Module) -> nn.Module:
        """`network`, with gradients averaged over all processes."""
        # MONAI's UNETR holds weights that no crop goes through; they would be waited for.
        return network if self.size == 1 else DistributedDataParallel(network, find_unused_parameters=True)

    def mean(self, value: float) -> float:
        """The mean over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.size

    def first(self, value: float) -> float:
        """The value of the process that leads."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)

    def mine(self, items: range) -> list[int]:
        """This process's share of numbered work."""
        return list(items[self.rank :: self.size])


def this_device() -> torch.device:
    """The GPU that torchrun gave this process, the first one without torchrun, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


ALONE = Group(0, 1, torch.device("cpu"))


@contextmanager
def joined() -> Iterator[Group]:
    """The processes that torchrun started, or this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = this_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield Group(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
