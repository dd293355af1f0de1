# SimCC with HRNet-W32 on COCO, as the official SimCC code trains its label-smoothed form: the paper's baseline and student.
# MMPose has no SimCC config for HRNet; runtime, data sets and schedule are those of its SimCC config for ResNet-50.
_base_ = ['mmpose::body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

# learning rate 1e-3 for 4 GPUs of 32 instances each
auto_scale_lr = dict(base_batch_size=128)

# codec settings
codec = dict(
    type='SimCCLabel',
    input_size=(192, 256),
    smoothing_type='standard',
    label_smooth_weight=0.1,
    simcc_split_ratio=2.0,
    use_dark=False)

# model settings
model = dict(
    data_preprocessor=dict(non_blocking=True),
    backbone=dict(
        _delete_=True,
        type='HRNet',
        in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ), num_channels=(64, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4), num_channels=(32, 64)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4), num_channels=(32, 64, 128)),
            stage4=dict(
                num_modules=3,
                num_branches=4,
                block='BASIC',
                num_blocks=(4, 4, 4, 4),
                num_channels=(32, 64, 128, 256))),
        # ImageNet weights; None starts from random ones
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmpose/pretrain_models/hrnet_w32-36af842e.pth')),
    head=dict(
        _delete_=True,
        type='OfficialSimCCHead',
        in_channels=32,
        out_channels=17,
        input_size=codec['input_size'],
        in_featuremap_size=(48, 64),
        simcc_split_ratio=codec['simcc_split_ratio'],
        deconv_out_channels=None,
        loss=dict(type='SimCCKLLoss', use_target_weight=True),
        decoder=codec,
        decode='official'),
    test_cfg=dict(flip_test=True))

# pipelines: the official code neither moves the box nor turns it by more than 90 degrees
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='FastRandomBBoxTransform', shift_prob=0.0, scale_factor=(0.65, 1.35), rotate_factor=90.0),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]

# data loaders
train_dataloader = dict(batch_size=32, pin_memory=True, dataset=dict(pipeline=train_pipeline))

# evaluators: a person's score is the box's times the mean of the keypoints' above 0.01
val_evaluator = dict(keypoint_score_thr=0.01)
test_evaluator = val_evaluator

# hooks
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='ReliableRunHook'),
    dict(type='SafeSamplesHook'),
    dict(type='BoxSourceHook'),
]
