def choose_batch(seconds, memory, limit, loss=0.1):
    """{batch: seconds}, {batch: bytes} -> the smallest batch that fits and is nearly as fast as the best"""
    speeds = {B: B / seconds[B] for B in seconds if memory[B] <= limit}
    if not speeds:
        return None
    best = max(speeds.values())
    return min(B for B, speed in speeds.items() if speed >= (1 - loss) * best)
