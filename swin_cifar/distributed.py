"""Several processes that train one model together, each on its share of every batch.

    torchrun --nproc-per-node=2 -m swin_cifar train

Every function also works in a process of its own, where it does nothing.
"""

import os
from contextlib import contextmanager

import torch
from torch import distributed as dist


def launched():
    """Whether torchrun started this process."""
    return "LOCAL_RANK" in os.environ


@contextmanager
def joined(device):
    """Meet the other processes, if there are any -> the device of this one; part at the end.

    `device`: "cuda" becomes one GPU per process (NCCL), anything else stays (gloo).
    """
    if not launched():
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


def rank():
    """This process's number; number 0 alone writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batch):
    """(B, ...) -> (B / processes, ...): this process's part of a batch."""
    return batch[rank() :: world_size()]


def add_up(tensor):
    """The sum of everybody's tensor, for everybody."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def gather(value):
    """-> everybody's value, which may be any object, for everybody."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def anybody(flag, device):
    """Whether the flag is set in any process: they must agree where to stop."""
    if not dist.is_initialized():
        return flag
    return add_up(torch.tensor(float(flag), device=device)).item() > 0


@contextmanager
def one_after_the_other():
    """Number 0 first, then all others: what it downloads, they find."""
    if dist.is_initialized() and rank() > 0:
        dist.barrier()
    yield
    if dist.is_initialized() and rank() == 0:
        dist.barrier()
