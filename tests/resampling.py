"""What resampling must give, in NumPy, and pictures to resample."""

import numpy as np


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def bicubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2."""
    x = np.abs(distance)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resampling_matrix(length: int, start: float, end: float, size: int) -> np.ndarray:
    """(size, length): weights of the pixels of one axis, widened to the reduction."""
    step = (end - start) / size
    centres = start + (np.arange(size) + 0.5) * step
    weights = bicubic((np.arange(length) + 0.5 - centres[:, None]) / max(step, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def reference(picture: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    rows = resampling_matrix(picture.shape[0], box[1], box[3], size)
    columns = resampling_matrix(picture.shape[1], box[0], box[2], size)
    return np.moveaxis(rows @ np.moveaxis(picture.astype(float), 2, 0) @ columns.T, 0, 2)
