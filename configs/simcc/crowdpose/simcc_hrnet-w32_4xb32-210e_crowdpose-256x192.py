# SimCC with HRNet-W32 on CrowdPose (14 keypoints): trained on trainval, tested on test with YOLOv3's boxes. The paper does not
# name its split; this one is usual. The baseline of Tables III and IV.
_base_ = ['../coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

model = dict(head=dict(out_channels=14))

# base dataset settings
dataset_type = 'CrowdPoseDataset'
data_root = 'data/crowdpose/'

# data loaders
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mmpose_crowdpose_trainval.json',
        data_prefix=dict(img='images/')))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mmpose_crowdpose_test.json',
        bbox_file=data_root + 'annotations/det_for_crowd_test_0.1_0.5.json',
        data_prefix=dict(img='images/')))
test_dataloader = val_dataloader

# evaluators: the area in OKS is 0.53 times the box; easy, medium and hard by an image's crowd index
val_evaluator = dict(
    type='CrowdPoseMetric', ann_file=data_root + 'annotations/mmpose_crowdpose_test.json', keypoint_score_thr=0.01)
test_evaluator = val_evaluator

# hooks: all of trainval is trained on, so runs are validated on the test set, and none of their epochs is selected by it
default_hooks = dict(checkpoint=dict(save_best=None))
