import torch.nn.functional as F


def accumulate(model, images, targets, parts):
    """(B, ...), (B,): leaves the gradient of the mean loss of all B pictures in p.grad"""
    model.zero_grad()  # once, before the first part: backward adds to what is there
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        share = len(x) / len(images)  # of the batch; the shares add up to 1
        loss = F.cross_entropy(model(x), y) * share
        loss.backward()  # frees this part's intermediate results before the next part comes
