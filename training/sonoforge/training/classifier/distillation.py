"""Several networks distilled into one, so that a phone gets the ensemble's answer from one small file.

The student is shown what the teachers are shown, in the very view that both see, and learns their mean answer (Hinton,
Vinyals & Dean, arXiv 1503.02531; the same view for both: Beyer et al., Knowledge distillation: a good teacher is
patient and consistent, CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sonoforge.training.classifier.fine_tuning import Batch, Indices, TrainingInputs, forward_from
from sonoforge.training.classifier.mixed_precision import bfloat16
from sonoforge.training.classifier.settings import ClassifierSettings


def taught_by(inputs: TrainingInputs, teachers: Sequence[Any], settings: ClassifierSettings) -> TrainingInputs:
    """Serve the same views with the teachers' answers to them: the softmax of their mean logits.

    Args:
        inputs: What the teachers learned from.
        teachers: Networks, trained; they are put into evaluation mode.
        settings: What they were trained with.
    """
    for teacher in teachers:
        teacher.eval()
    serve = inputs.batch

    def said_by(teacher: Any, maps: Tensor) -> Tensor:
        with bfloat16(teacher, maps.device, enabled=settings.precision == "bf16"):
            return forward_from(teacher, settings.frozen_blocks, maps).float()

    def batch(indices: Indices, rng: np.random.Generator) -> Batch:
        view = serve(indices, rng)
        with torch.inference_mode():
            logits = torch.stack([said_by(teacher, view.inputs) for teacher in teachers]).mean(0)
            answers = F.softmax(logits, dim=1)
        return view._replace(answers=answers.clone())

    return inputs._replace(batch=batch, healthy=None)
