from typing import List, Optional, Sequence

import torch
from torch import Tensor

from ...poses import PoseOutputs


class TeacherCheck:
    """Compares a teacher with the labels of the first training batches, as soon as they have enough instances.

    A keypoint counts as found if the teacher's median distance to the labels is at least a fifth smaller than that of a
    guess without the image: the mean of the other instances' labels.

    Args:
        people: The number of instances to wait for.
        labels: The number of labels that a keypoint needs among them to be judged.
    """

    def __init__(self, people: int = 32, labels: int = 8):
        self.people = people
        self.labels = labels
        self.seen: List[Sequence[Tensor]] = []
        self.is_done = False

    @torch.no_grad()
    def __call__(
        self, label: PoseOutputs, mask: Tensor, teacher: PoseOutputs, names: Optional[Sequence[str]]
    ) -> Optional[str]:
        """Adds a batch.

        Args:
            label: The targets, in the form of the student's outputs.
            mask: N×K, bool: which keypoints have a target.
            teacher: The teacher's outputs.
            names: The keypoints' names, where they are known.

        Returns:
            What is wrong with the teacher; None if nothing is, or as long as there are too few instances.
        """
        if teacher.weights is not None:
            mask = mask & (teacher.weights > 0)
        self.seen.append((label.peaks, teacher.peaks, mask))
        if sum(len(mask) for _, _, mask in self.seen) < self.people:
            return None
        self.is_done = True
        labels, poses, mask = (torch.cat(list(parts)) for parts in zip(*self.seen))
        self.seen = []
        count = mask.sum(0)
        mean = (labels * mask[..., None]).sum(0) / count[:, None].clamp(min=1)
        guessed = (labels - mean) * (count / (count - 1).clamp(min=1))[:, None]  # the mean without the instance
        own, by_guess = (_median(error.norm(dim=-1), mask) for error in (poses - labels, guessed))
        lost = ((count >= self.labels) & (own > 0.8 * by_guess)).nonzero().flatten().tolist()
        if not lost:
            return None
        said = []
        for k in lost:
            text = f'{names[k] if names else k} (off by {own[k]:.0f} pixels, the mean by {by_guess[k]:.0f}'
            others = _median((poses - labels[:, k : k + 1]).norm(dim=-1), mask[:, k : k + 1])
            nearest = int(others.argmin())
            if others[nearest] < own[k] / 2:
                text += f'; its keypoint {names[nearest] if names else nearest} is nearer, {others[nearest]:.0f}'
            said.append(f'{text})')
        shown = ', '.join(said[:8]) + (', ...' if len(said) > 8 else '')
        return (
            f'in the first {len(labels)} instances {len(lost)} of {int((count >= self.labels).sum())} labeled '
            f"keypoints are hardly nearer to their labels than the mean of the other instances' is: {shown}"
        )


def _median(error: Tensor, mask: Tensor) -> Tensor:
    """K: the median over the instances of which a keypoint is labeled, in pixels."""
    return error.masked_fill(~mask, float('nan')).nanmedian(0).values
