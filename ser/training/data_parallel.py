"""Several ranks train one network: each takes its share of every batch, and gradients are all-reduced.

Batch norm all-reduces its statistics too (``ser.model.norm``). So network, loss and gradient are those of the
whole batch, to rounding, for any world size. With world size 1 all of this changes nothing: the share is the
whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from ser import SerError


def rank() -> int:
    """Rank of this process, from 0. Only rank 0 validates, writes and prints."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def processes() -> int:
    """World size: how many processes train one network together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(clips: int) -> slice:
    """This rank's part of a batch. Sizes differ by at most one clip; of a small batch a rank may get none."""
    return slice(clips * rank() // processes(), clips * (rank() + 1) // processes())


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """All-reduce the gradients: replace them by their sum over all ranks, in one message."""
    if processes() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def summed(*values: float, device: torch.device) -> list[float]:
    """All-reduce numbers: the sum of each over all ranks. ``device`` holds the tensor of the message."""
    if processes() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def check_same_start(epochs: int, device: torch.device) -> None:
    """Check that all ranks resume after the same epoch. They do not if the nodes see different checkpoints.

    Raises:
        SerError: on each rank that has done another number of epochs than rank 0.
    """
    (first,) = summed(epochs if rank() == 0 else 0, device=device)
    if epochs != first:
        raise SerError(
            f"rank {rank()} would resume after epoch {epochs}, rank 0 after epoch {first:.0f}: SER_CACHE_DIR or "
            "runtime.cache_dir must name a folder that all nodes share"
        )


@contextmanager
def group(device: torch.device, meeting: str = "env://", number: int = -1, count: int = -1) -> Iterator[None]:
    """Make this process a rank of a process group, within the ``with`` block.

    After an error the connections stay open. Closing them would make the other ranks fail too, and their
    errors would hide the first one.

    Args:
        device: of this process; NCCL connects CUDA devices, Gloo all others.
        meeting: address of ``torch.distributed`` where the ranks meet; ``env://``: taken from torchrun's
            variables.
        number: rank of this process; -1: taken from torchrun's variables.
        count: world size; -1: taken from torchrun's variables.
    """
    cuda = device.type == "cuda"
    here = torch.device("cuda", torch.cuda.current_device()) if cuda else None
    dist.init_process_group("nccl" if cuda else "gloo", init_method=meeting, rank=number, world_size=count, device_id=here)
    yield
    dist.barrier()  # no rank leaves while another still reads the checkpoint or waits for a sum
    dist.destroy_process_group()
