"""Several processes that train one model together, each on its share of every batch.

    torchrun --nproc-per-node=2 -m swin_cifar train

Every function also works in a process of its own, where it does nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed as dist

T = TypeVar("T")


def is_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "LOCAL_RANK" in os.environ


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the other processes, if there are any -> the device of this one; leave at the end.

    `device`: "cuda" becomes one GPU per process (NCCL), anything else stays (gloo).
    """
    if not is_torchrun():
        yield device
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; number 0 alone writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shard(batch: torch.Tensor) -> torch.Tensor:
    """(B, ...) -> (B / processes, ...): this process's part of a batch."""
    return batch[rank() :: world_size()]


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of the tensors of all processes, for all of them."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def all_gather(value: T) -> list[T]:
    """-> the values of all processes, which may be any objects, for all of them."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process: they must agree where to stop."""
    return all_reduce_sum(torch.tensor(float(flag), device=device)).item() > 0


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Process 0 first, then all others: what it downloads, they find."""
    if dist.is_initialized() and rank() > 0:
        dist.barrier()
    yield
    if dist.is_initialized() and rank() == 0:
        dist.barrier()
