# A heatmap teacher: the quickstart's teacher with a heatmap head.
_base_ = ['../../simcc/synthetic_crowd/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py']

# codec: maps at half the input's resolution, since a pixel of 16×24 is too coarse for people of 96×64
codec = dict(type='UDPHeatmap', input_size=(64, 96), heatmap_size=(32, 48), sigma=2.0, blur_kernel_size=5)

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
    head=dict(
        _delete_=True,
        type='HeatmapHead',
        in_channels=32,
        out_channels=17,
        deconv_out_channels=(32, ),
        deconv_kernel_sizes=(4, ),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    train_cfg=dict(compute_acc=False),  # it goes through NumPy, which has no bfloat16
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False))
