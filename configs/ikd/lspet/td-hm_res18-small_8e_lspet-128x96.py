# IKD's student on LSPET: ResNet-18 with three deconvolutions of 64 channels.
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_8e_lspet-128x96.py']

optim_wrapper = dict(optimizer=dict(lr=1e-3))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),  # warm-up
    dict(
        type='CosineAnnealingLR', T_max=_base_.max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

# codec
codec = dict(type='UDPHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, blur_kernel_size=3)

# pipelines
train_pipeline = [
    *_base_.train_pipeline[:-3],
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:-2],
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18),
    head=dict(
        _delete_=True,
        type='HeatmapHead',
        in_channels=512,
        out_channels=14,
        deconv_out_channels=(64, 64, 64),
        deconv_kernel_sizes=(4, 4, 4),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    train_cfg=dict(compute_acc=False),  # it goes through NumPy, which has no bfloat16
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False))
