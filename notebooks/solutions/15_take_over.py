def take_over(old, new):
    """Two state dicts -> new's names, with old's tensors where they fit, and the names that kept new's"""
    weights, left = dict(new), []
    for name, tensor in new.items():
        if name in old and old[name].shape == tensor.shape:
            weights[name] = old[name]
        else:
            left.append(name)
    return weights, left
