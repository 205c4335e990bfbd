"""From pixels to what a network takes: the one place where it is written, for every stage.

Training, calibration, evaluation and the raw-pixel check of a uint8 model all go through
`Preprocessing.apply`, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """``(pixel - mean) / std`` on pixels 0..255, one mean and one std for all channels.

    One scale and one zero point of a quantized input can express exactly this, so that an
    integrator feeds raw bytes. What they cannot express (means per channel, BGR) belongs inside the
    network.
    """

    mean: float
    std: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 pixels, any shape, to float32."""
        return ((pixels.astype(np.float32) - self.mean) / self.std).astype(np.float32)

    @property
    def is_identity(self) -> bool:
        """The network takes pixels as they are."""
        return self.mean == 0 and self.std == 1

    @property
    def range(self) -> tuple[float, float]:
        """The values of pixel 0 and of pixel 255."""
        return (0 - self.mean) / self.std, (255 - self.mean) / self.std


PIXELS = Preprocessing(mean=0.0, std=1.0)  # 0..255: the network normalizes by itself
UNIT = Preprocessing(mean=0.0, std=255.0)  # 0..1
SIGNED_UNIT = Preprocessing(mean=127.5, std=127.5)  # -1..1, `mode="tf"` of keras.applications
EDGETPU = Preprocessing(mean=127.0, std=128.0)  # of the EfficientNet-EdgeTPU files: exact in binary
