# A heatmap teacher: the quickstart's teacher with a heatmap head.
_base_ = ['../quickstart/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py']

# codec
codec = dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=1.5)

# pipelines
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='GenerateTarget', encoder=codec), dict(type='PackPoseInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    head=dict(
        _delete_=True,
        type='HeatmapHead',
        in_channels=32,
        out_channels=17,
        deconv_out_channels=None,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    train_cfg=dict(compute_acc=False),  # it goes through NumPy, which has no bfloat16
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))
