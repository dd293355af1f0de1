# The refined model on COCO test-dev, with the 60.9-AP detections: writes the file that COCO's evaluation server takes.
_base_ = ['simcc_hrnet-w32-igpgcn_coco-256x192.py']

data_root = _base_.data_root
ann_file = 'annotations/image_info_test-dev2017.json'

test_dataloader = dict(
    dataset=dict(
        ann_file=ann_file,
        bbox_file=data_root + 'person_detection_results/COCO_test-dev2017_detections_AP_H_609_person.json',
        data_prefix=dict(img='test2017/')))

test_evaluator = dict(
    _delete_=True,
    type='CocoTestDevSubmission',
    ann_file=data_root + ann_file,
    name='tskd',
    out_dir='work_dirs/test-dev',
    keypoint_score_thr=0.01)
