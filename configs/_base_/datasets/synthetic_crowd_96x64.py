# The synthetic crowd at 96×64: people who hide one another, with COCO's 17 keypoints, drawn by this package
# (tools/quickstart.py, or mmpose_tskd.datasets.generate_synthetic_crowd). TSKD_DATA names the folder that holds
# synthetic_crowd/; it is data/ where unset.
_base_ = ['../default_runtime.py']

# codec
codec = dict(
    type='SimCCLabel', input_size=(64, 96), sigma=4.0, simcc_split_ratio=2.0, normalize=True, use_dark=False)

# base dataset settings
dataset_type = 'CocoDataset'
data_mode = 'topdown'
data_root = '{{$TSKD_DATA:data}}/synthetic_crowd/'

# pipelines
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.8, 1.2), rotate_factor=40.0),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders: on a CPU, images as small as these load faster than a second process could hand them over
train_dataloader = dict(
    batch_size=32,
    drop_last=True,  # batch norm over the one or two instances that may be left over throws a network back by an epoch
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/synthetic_crowd_train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ))
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/synthetic_crowd_val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=val_pipeline,
    ))
test_dataloader = val_dataloader

# evaluators: boxes are the ground truth's; OKS takes a person's area as 0.53 times the box, as CrowdPose does. The second one splits by
# how crowded an image is.
ann_file = data_root + 'annotations/synthetic_crowd_val.json'
val_evaluator = [
    dict(type='CocoMetric', ann_file=ann_file, use_area=False, keypoint_score_thr=0.1),
    dict(type='CrowdPoseMetric', ann_file=ann_file, keypoint_score_thr=0.1, prefix='crowd'),
    dict(type='HiddenJointCocoMetric', ann_file=ann_file, use_area=False, keypoint_score_thr=0.1),
    dict(type='EdgeLengthError'),
]
test_evaluator = val_evaluator

# hooks
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=2))
