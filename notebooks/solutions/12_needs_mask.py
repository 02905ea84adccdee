import torch

from course.questions import tokens_at


def needs_mask(B, generator):
    """-> pictures (B, 3, 32, 32), answers (B,): 1 or 0, which no model of one stage without mask can tell"""
    answers = torch.randint(2, (B, 1), generator=generator)  # 1: one above the other, 0: at both ends
    rows = torch.where(answers == 1, torch.tensor([1, 2]), torch.tensor([3, 0]))  # 3, 0 is 1, 2 moved by 2
    columns = torch.randint(4, (B, 1), generator=generator).expand(B, 2)
    colours = torch.tensor([[0, 1]]).expand(B, 2)
    return tokens_at(rows, columns, colours), answers[:, 0]
