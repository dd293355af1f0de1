# The student at 256×192, for a GPU, trained on labels alone.
_base_ = ['simcc_hrnet-w16-small_8e_lspet-128x96.py']

# codec
codec = dict(
    type='SimCCLabel', input_size=(192, 256), sigma=6.0, simcc_split_ratio=2.0, normalize=True, use_dark=False)

# pipelines
train_pipeline = [
    *_base_.train_pipeline[:-3],
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:-2],
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders
train_dataloader = dict(num_workers=8, persistent_workers=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=8, persistent_workers=True, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# runtime
max_epochs = 60
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=4e-5, by_epoch=True, convert_to_iter_based=True),
]

# model
model = dict(
    head=dict(
        input_size=codec['input_size'],
        in_featuremap_size=tuple([s // 4 for s in codec['input_size']]),
        decoder=codec))
