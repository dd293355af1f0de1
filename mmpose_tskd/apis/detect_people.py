"""Boxes for images without labels."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch
from rich.progress import track
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2

from ..checkpoints import load_strictly, load_weights
from ..datasets.safe_samples import read_image
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
PERSON = 1  # in COCO


def detect_people(
    images: str,
    out: str,
    checkpoint: Optional[str] = None,
    min_score: float = 0.3,
    device: Union[str, torch.device] = 'cpu',
) -> Dict[str, Any]:
    """Finds the people in a folder's images by torchvision's Faster R-CNN (ResNet-50 FPN v2, 46.7 box AP on COCO).

    Args:
        images: The folder, with those in it.
        out: The file to write, in COCO format: the images, and a box and a score for each instance, without keypoints.
        checkpoint: Its weights, a file or a URL; None downloads torchvision's, trained on COCO.
        min_score: The score that a box must have.
        device: Where it runs.

    Returns:
        What the file holds.

    Raises:
        UserError: There is no image, one cannot be read, or the weights do not fit.
    """
    folder = Path(images)
    files = sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGES)
    if not files:
        raise UserError(f'{images} has no image ({", ".join(IMAGES)})')
    model = load_detector(checkpoint or FasterRCNN_ResNet50_FPN_V2_Weights.DEFAULT.url).to(device)
    listed: List[dict] = []
    people: List[dict] = []
    for number, file in enumerate(track(files, 'detecting'), 1):
        image = read_image(str(file))
        height, width = image.shape[:2]
        name = os.path.relpath(file, folder)
        listed.append(dict(id=number, file_name=name, width=width, height=height))
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).to(device).float() / 255
        with torch.no_grad():
            (found,) = model([rgb])
        for label, score, box in zip(found['labels'].tolist(), found['scores'].tolist(), found['boxes'].tolist()):
            if label == PERSON and score >= min_score:
                x, y, right, bottom = (round(value, 2) for value in box)
                size = [round(right - x, 2), round(bottom - y, 2)]
                person = dict(image_id=number, category_id=1, iscrowd=0, bbox=[x, y, *size], score=round(score, 4))
                people.append(dict(person, id=len(people) + 1, area=round(size[0] * size[1] * 0.53, 2)))
    categories = [dict(id=1, name='person', keypoints=[], skeleton=[])]
    content = dict(images=listed, annotations=people, categories=categories)
    AtomicLocalBackend().put_text(json.dumps(content) + '\n', out)
    return content


def load_detector(checkpoint: str) -> Any:
    """The detector with weights from a file or a URL, for inference.

    Raises:
        UserError: They do not fit.
    """
    model = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    load_strictly(model, load_weights(checkpoint), checkpoint, 'detector')
    return model.eval()
