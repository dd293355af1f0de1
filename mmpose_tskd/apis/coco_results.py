from typing import Any, Dict, List

import numpy as np


def coco_results(image_id: int, keypoints: Any, scores: Any) -> List[Dict[str, Any]]:
    """What was found in an image as entries of a results file in COCO format, which COCO's evaluation reads.

    Both :class:`MMPoseInferencer` and rtmlib's classes give keypoints and scores in this form.

    Args:
        image_id: The image's, in its labels.
        keypoints: N×K×2, pixels of the image.
        scores: N×K.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    confidence = np.asarray(scores, dtype=np.float64)
    people = np.concatenate([points, confidence[..., None]], axis=-1).reshape(len(points), -1)
    return [
        dict(image_id=image_id, category_id=1, keypoints=person.round(3).tolist(), score=round(float(score), 5))
        for person, score in zip(people, confidence.mean(-1))
    ]
