import json
import zipfile
from pathlib import Path
from typing import Dict

from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS


@METRICS.register_module()
class CocoTestDevSubmission(CocoMetric):
    """Writes what COCO's evaluation server takes for test-dev, whose labels are not public; it measures nothing.

    ``person_keypoints_test-dev2017_NAME_results.json`` is a list of image_id, category_id, keypoints (x, y, score for
    each of the 17) and score, and the ZIP of the same name holds it and nothing else, as the server wants.

    Args:
        ann_file: ``image_info_test-dev2017.json``.
        name: NAME, of the algorithm.
        out_dir: The folder to write to.
        kwargs: Of MMPose's ``CocoMetric``.
    """

    def __init__(self, ann_file: str, name: str = 'tskd', out_dir: str = 'work_dirs/test-dev', **kwargs) -> None:
        prefix = Path(out_dir) / f'person_keypoints_test-dev2017_{name}_results'
        super().__init__(ann_file, format_only=True, outfile_prefix=str(prefix), **kwargs)

    def results2json(self, keypoints: Dict[int, list], outfile_prefix: str) -> str:
        people = [
            dict(
                image_id=person['img_id'],
                category_id=person['category_id'],
                keypoints=[round(float(v), 4) for v in person['keypoints'].flatten()],
                score=float(person['score']),
            )
            for people in keypoints.values()
            for person in people
        ]
        path = Path(f'{outfile_prefix}.json')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(people))
        archive = path.with_suffix('.zip')
        with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
            file.write(path, path.name)
        print_log(f'{len(people)} instances in {path}; for the server: {archive}', 'current')
        return str(path)
