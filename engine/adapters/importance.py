"""How much the loss would feel it if a weight were zero, measured while it trains.

Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", equations 8 to 11. The product of a
weight and its gradient says it for one batch; since that is noisy, its mean over the last steps is multiplied by its own
uncertainty, so that a weight which is still undecided is not taken for a useless one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MEMORY = 0.85
"""beta_1 and beta_2 of the paper: half of what is remembered is from the last four steps."""


class Importance(nn.Module):
    """The importance of each element of a parameter; its two means are buffers, so that a resumed run goes on with them."""

    sensitivity: Tensor
    uncertainty: Tensor

    def __init__(self, parameter: Tensor) -> None:
        super().__init__()
        self.register_buffer("sensitivity", torch.zeros_like(parameter))
        self.register_buffer("uncertainty", torch.zeros_like(parameter))

    @torch.no_grad()
    def observe(self, parameter: nn.Parameter) -> None:
        """Take a step's gradient into account; none when there is none."""
        if parameter.grad is None:
            return
        felt = (parameter * parameter.grad).abs()
        self.sensitivity.lerp_(felt, 1 - MEMORY)
        self.uncertainty.lerp_((felt - self.sensitivity).abs(), 1 - MEMORY)

    def scores(self) -> Tensor:
        """In the parameter's shape."""
        return self.sensitivity * self.uncertainty
