"""The reference network (Hashem et al. 2025, PeerJ CS 3254) as its authors coded it, in plain eager torch.

Shapes are those of ASVP-ESD V1: one image of 168 rows (40 MFCC on top of 128 log-mel bands) and 313 frames.
Of the original's 14.65 million parameters, 12.23 million never receive a gradient. They are left out here:
they change neither time nor accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROWS, FRAMES, CLASSES = 168, 313, 6


class ReferenceNetwork(nn.Module):
    """Two equal CNN blocks and a Transformer on the same image, joined by two gates. 2,419,878 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.block_1 = _block()
        self.block_2 = _block()
        self.pool = nn.MaxPool2d((1, 4))
        layer = nn.TransformerEncoderLayer(ROWS, nhead=4, dim_feedforward=512, dropout=0.4, activation="relu")
        self.encoder = nn.TransformerEncoder(layer, num_layers=4, enable_nested_tensor=False)
        self.widen = nn.Linear(ROWS, 2880)
        self.c = nn.Linear(2880, 128)
        self.t = nn.Linear(2880, 128)
        self.classifier = nn.Linear(128, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, 168, 313) → logits (B, 6)."""
        u, v = self.block_1(image).flatten(1), self.block_2(image).flatten(1)  # (B, 2880) each
        gate = torch.sigmoid(u + v)
        joined = gate * u + gate * v
        tokens = self.pool(image).squeeze(1).permute(2, 0, 1)  # (78, B, 168)
        attended = self.widen(self.encoder(tokens).mean(0))  # (B, 2880)
        c, t = self.c(joined), self.t(attended)
        return self.classifier(torch.sigmoid(c * t) * (c + t))


def _block() -> nn.Sequential:
    stages: list[nn.Module] = []
    for channels_in, channels, pool in ((1, 16, 2), (16, 32, 4), (32, 64, 4)):
        stages += [
            nn.Conv2d(channels_in, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.01),
            nn.MaxPool2d(pool),
            nn.Dropout(0.3),
        ]
    return nn.Sequential(*stages)
