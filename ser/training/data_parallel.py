"""Several processes train one network together: each takes its share of every batch, and the gradients are summed.

With batch norm, which sums its statistics over the processes too (``ser.model.norm``), network, loss and gradient are those of the
whole batch to rounding, however many processes there are. In a process that is alone all of this changes nothing: the share is the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from ser import SerError


def rank() -> int:
    """Number of this process among those that train together, from 0; the first alone validates, writes and speaks."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(clips: int) -> slice:
    """This process's part of a batch: the parts are of equal size to within one, so of a small batch a process may get nothing."""
    return slice(clips * rank() // processes(), clips * (rank() + 1) // processes())


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each process's gradients by their sum over all, in one message."""
    if processes() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def summed(*values: float, device: torch.device) -> list[float]:
    """Each number, summed over the processes; ``device``: where their tensors live."""
    if processes() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def check_same_start(epochs: int, device: torch.device) -> None:
    """Refuse to go on from different epochs, as happens when the nodes do not see the same checkpoint.

    Raises:
        SerError: in each process that has not done as many epochs as the first.
    """
    (first,) = summed(epochs if rank() == 0 else 0, device=device)
    if epochs != first:
        raise SerError(
            f"process {rank()} would go on after epoch {epochs}, the first process after epoch {first:.0f}: SER_CACHE_DIR or "
            "runtime.cache_dir must name a folder that all nodes share"
        )


def launched() -> bool:
    """Whether torchrun (or another launcher that sets its variables) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


@contextmanager
def group(place: torch.device, meeting: str = "env://", number: int = -1, count: int = -1) -> Iterator[None]:
    """Within it, this process is one of those that train together.

    After an error the connections stay open: closing them would make the others fail too, and their errors hide the one that says why.

    Args:
        place: kind of device: NCCL connects CUDA devices, Gloo all else.
        meeting: where the processes find each other, an address of ``torch.distributed``; ``env://``: where torchrun's variables say.
        number: of this process; -1: as torchrun's variables say.
        count: of processes; likewise.
    """
    cuda = place.type == "cuda"
    here = torch.device("cuda", torch.cuda.current_device()) if cuda else None
    dist.init_process_group("nccl" if cuda else "gloo", init_method=meeting, rank=number, world_size=count, device_id=here)
    yield
    dist.barrier()  # no process leaves while another still reads the checkpoint or waits for a sum
    dist.destroy_process_group()
