# Leeds Sports Pose Extended in COCO format with CrowdPose's 14 keypoints, at 128×96.
# TSKD_DATA names the folder that holds lspet/; it is data/ where unset.
_base_ = ['../default_runtime.py']

# codec: from scratch a Gaussian target learns much faster than a label-smoothed one-hot
codec = dict(
    type='SimCCLabel', input_size=(96, 128), sigma=4.0, simcc_split_ratio=2.0, normalize=True, use_dark=False)

# base dataset settings
dataset_type = 'CrowdPoseDataset'
data_mode = 'topdown'
data_root = '{{$TSKD_DATA:data}}/lspet/'

# pipelines
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.75, 1.25), rotate_factor=60.0),
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
    drop_last=True,  # batch norm over the few instances that may be left over throws a network back by an epoch
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/lspet_train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode=data_mode,
        ann_file='annotations/lspet_val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=val_pipeline,
    ))
test_dataloader = val_dataloader

# evaluators: OKS with CrowdPose's sigmas, area = box area * 0.53; boxes are the ground truth's.
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/lspet_val.json',
        use_area=False,
        keypoint_score_thr=0.1,
        prefix='lspet'),
    dict(type='PCKAccuracy', thr=0.1, norm_item='bbox', prefix='lspet'),
    dict(type='EPE', prefix='lspet'),
]
test_evaluator = val_evaluator

# hooks: runs are validated on the test set, and none of their epochs is selected by it
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=1, max_keep_ckpts=2))
