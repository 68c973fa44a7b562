"""A model's answer as distributions: one over all classes, or one of yes and no for each label.

Shapes: B = batch, C = classes or labels, D = distributions of an example, O = outcomes of each;
(D, O) is (1, C) for classification and (C, 2) for multi-label.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from app.contracts.dataset import Task


def log_probs_BDO(logits_BC: Tensor, temperature: float, task: Task) -> Tensor:
    """Return log-probabilities at ``temperature``, finite however far apart the logits are."""
    softened_BC = logits_BC / temperature
    if task == "multi_label":
        return torch.stack([F.logsigmoid(softened_BC), F.logsigmoid(-softened_BC)], dim=-1)
    return F.log_softmax(softened_BC, dim=-1).unsqueeze(1)


def divergence_B(log_p_BDO: Tensor, log_q_BDO: Tensor) -> Tensor:
    """Return KL(p || q) in nats: summed over outcomes, the mean over an example's distributions."""
    divergence_BDO = log_p_BDO.exp() * (log_p_BDO - log_q_BDO)
    return divergence_BDO.sum(dim=-1).mean(dim=-1)
