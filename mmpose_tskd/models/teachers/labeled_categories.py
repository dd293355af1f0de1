from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from torch import Tensor

from ...poses import visible_joints


class LabeledCategories:
    """Knows which keypoints the labels of each category have, from the samples that it was shown.

    DeepFashion2 has 294 keypoints, of which a skirt has 8. No network was ever trained on the others in an image of a
    skirt, so what a teacher says of them is noise. Where a category has labels for all keypoints, as the one of COCO,
    all keypoints teach, even in an instance where some have no label.
    """

    def __init__(self) -> None:
        self.joints: Dict[int, np.ndarray] = {}

    def __call__(self, data_samples: Sequence, device: torch.device) -> Tensor:
        """N×K, fp32: 1 for the keypoints that were labeled in an instance of the sample's category so far, else 0."""
        visible = visible_joints(data_samples)
        categories = [int(np.ravel(sample.metainfo.get('category_id', 0))[0]) for sample in data_samples]
        for category, joints in zip(categories, visible):
            self.joints[category] = self.joints.get(category, False) | joints
        known = np.stack([self.joints[category] for category in categories])
        return torch.from_numpy(known.astype(np.float32)).to(device, non_blocking=True)

    def state_dict(self) -> Dict[int, List[int]]:
        return {category: joints.astype(int).tolist() for category, joints in self.joints.items()}

    def load_state_dict(self, state: Dict[Any, List[int]]) -> None:
        self.joints = {category: np.array(joints, dtype=bool) for category, joints in state.items()}
