def shifts_of(H, W, M, shift):
    """-> how far a map of H x W tokens moves up and left, before it is cut into windows"""
    return shift if H > M else 0, shift if W > M else 0
