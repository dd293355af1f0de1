"""How long evaluation takes."""

import cProfile
import json
import pstats
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import numpy as np
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, METRICS

from ...apis.environment import write_json
from .measuring import print_rows, versions_and_machine

METRIC_NAMES = ('CocoMetric', 'FastCocoMetric', 'CrowdPoseMetric', 'HiddenJointCocoMetric', 'EdgeLengthError')
PEOPLE, DETECTIONS = 2, 20  # an image; COCO's val2017 with MMPose's detections has 2.2 and 20.9
JOINTS = 17
TOP = 6  # functions of the profile


def benchmark_eval(detections: int = 100_000, seed: int = 0, out: Optional[str] = None) -> Dict[str, Any]:
    """Times the metrics on made-up detections: 20 an image, for two labeled instances.

    Args:
        detections: How many.
        seed: Of the labels and the detections.
        out: A JSON file to write as well.

    Returns:
        What the file holds: ``seconds``, by metric, for taking up the samples (``process``) and for the result
        (``evaluate``); ``profile``, the functions in which ``FastCocoMetric`` spends most of that time, in seconds,
        each by itself (measured apart, under Python's profiler, which slows it down); and what it was measured with.
    """
    init_default_scope('mmpose')
    rng = np.random.default_rng(seed)
    images = max(1, detections // DETECTIONS)
    truth = rng.uniform(20, 460, (images, PEOPLE, 1, 2)) + rng.uniform(0, 160, (images, PEOPLE, JOINTS, 2))
    seen = rng.integers(0, 3, (images, PEOPLE, JOINTS))
    meta = parse_pose_metainfo(dict(DATASETS.get('CocoDataset').METAINFO))
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder, 'labels.json')
        labels.write_text(json.dumps(_labels(truth, seen)))
        samples = list(_detections(truth, seen, rng))
        for name in METRIC_NAMES:
            options = {} if name == 'EdgeLengthError' else dict(ann_file=str(labels), keypoint_score_thr=0.01)
            with redirect_stdout(StringIO()):  # the COCO tools'
                metric = METRICS.build(dict(type=name, **options))
                metric.dataset_meta = meta
                start = time.perf_counter()
                metric.process({}, samples)
                processed = time.perf_counter()
                metric.evaluate(len(samples))
                seconds[name] = dict(process=processed - start, evaluate=time.perf_counter() - processed)
                if name == 'FastCocoMetric':
                    metric.process({}, samples)
                    profiler = cProfile.Profile()
                    profiler.runcall(metric.evaluate, len(samples))
    rows: List[Dict[str, Any]] = [{'metric': name, **values} for name, values in seconds.items()]
    print_rows(f'seconds for {len(samples)} detections in {images} images', rows)
    profile: Any = pstats.Stats(profiler)
    spent: Counter = Counter()
    for (file, _, name), times in profile.stats.items():
        spent[f'{Path(file).stem}: {name}'] += times[2]
    functions = dict(spent.most_common(TOP), all=sum(spent.values()))
    print_rows('FastCocoMetric', [{'function': name, 's': value} for name, value in functions.items()])
    result = dict(
        seconds=seconds,
        profile=functions,
        detections=len(samples),
        images=images,
        people=truth[..., 0, 0].size,
        seed=seed,
        **versions_and_machine(),
    )
    write_json(result, out)
    return result


def _labels(truth: np.ndarray, seen: np.ndarray) -> dict:
    """COCO's form."""
    annotations: List[dict] = []
    for image, people in enumerate(truth):
        for person, points in enumerate(people):
            visible = seen[image, person]
            low, size = points.min(0), np.ptp(points, axis=0)
            keypoints = np.concatenate([points, visible[:, None]], axis=-1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=1,
                    iscrowd=0,
                    bbox=[*low, *size],
                    area=float(size.prod()) / 2,
                    num_keypoints=int((visible > 0).sum()),
                    keypoints=keypoints.flatten().tolist(),
                )
            )
    images = [
        dict(id=i, file_name=f'{i}.jpg', width=640, height=640, crowdIndex=i / len(truth)) for i in range(len(truth))
    ]
    names = [str(k) for k in range(JOINTS)]
    categories = [dict(id=1, name='person', keypoints=names, skeleton=[])]
    return dict(images=images, annotations=annotations, categories=categories)


def _detections(truth: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> Iterator[dict]:
    """Data samples as a top-down model gives them: an image's instances again and again, with growing errors."""
    for image, people in enumerate(truth):
        for i in range(DETECTIONS):
            person = i % PEOPLE
            points = people[person] + rng.normal(0, 2 + 4 * i, (JOINTS, 2))
            low, high = people[person].min(0), people[person].max(0)
            boxes = np.concatenate([low, high])[None]
            score = rng.uniform(size=1)
            yield dict(
                id=image * DETECTIONS + i,
                img_id=image,
                category_id=1,
                pred_instances=dict(
                    keypoints=points[None],
                    keypoint_scores=rng.uniform(size=(1, JOINTS)),
                    bboxes=boxes,
                    bbox_scores=score,
                ),
                gt_instances=dict(
                    keypoints=people[person][None],
                    keypoints_visible=(seen[image, person] > 0)[None],
                    bboxes=boxes,
                    bbox_scores=score,
                    bbox_scales=(high - low)[None] * 1.25,
                ),
            )
