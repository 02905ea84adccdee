import torch


def deepen(weights, stage):
    """{name: tensor} -> {name: tensor}: two blocks more at the end of a stage, which change nothing yet"""
    start = f"stages.{stage}.blocks."
    depth = 1 + max(int(name.split(".")[3]) for name in weights if name.startswith(start))
    deeper = dict(weights)
    for name, tensor in weights.items():
        if not name.startswith(start):
            continue
        number, rest = name.removeprefix(start).split(".", 1)
        if int(number) >= depth - 2:
            ends_a_branch = rest.startswith(("attn.proj", "mlp.fc2"))
            copy = torch.zeros_like(tensor) if ends_a_branch else tensor.clone()
            deeper[f"{start}{int(number) + 2}.{rest}"] = copy
    return deeper
