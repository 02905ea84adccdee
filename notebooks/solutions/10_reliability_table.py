def reliability_table(confidence, right, bins=10):
    """(n,), (n,) bool -> [(mean confidence, share right, count), ...] of the bins, and the error"""
    place = (confidence * bins).long().clamp(max=bins - 1)  # a confidence of 1 belongs to the last bin
    table, error = [], 0.0
    for i in range(bins):
        chosen = place == i
        count = chosen.sum().item()
        if count:
            mean = confidence[chosen].mean().item()
            share = right[chosen].double().mean().item()
            table.append((mean, share, count))
            error += count * abs(mean - share) / len(confidence)
    return table, error
