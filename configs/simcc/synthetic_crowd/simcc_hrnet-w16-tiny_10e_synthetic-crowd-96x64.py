# The quickstart's student (1 M parameters), trained on labels alone: the baseline.
_base_ = ['../../_base_/datasets/synthetic_crowd_96x64.py']

# runtime
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=4)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=4e-5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)

# model
codec = _base_.codec
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='HRNet',
        in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1, ), num_channels=(64, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1), num_channels=(16, 32)),
            stage3=dict(num_modules=1, num_branches=3, block='BASIC', num_blocks=(1, 1, 1), num_channels=(16, 32, 64)),
            stage4=dict(
                num_modules=1,
                num_branches=4,
                block='BASIC',
                num_blocks=(1, 1, 1, 1),
                num_channels=(16, 32, 64, 128)))),
    head=dict(
        type='OfficialSimCCHead',
        in_channels=16,
        out_channels=17,
        input_size=codec['input_size'],
        in_featuremap_size=tuple([s // 4 for s in codec['input_size']]),
        simcc_split_ratio=codec['simcc_split_ratio'],
        deconv_out_channels=None,
        decoder=codec,
        init_cfg=dict(type='SimCCMarginalInit')),
    test_cfg=dict(flip_test=True))
