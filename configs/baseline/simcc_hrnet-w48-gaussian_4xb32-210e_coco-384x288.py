# SimCC with HRNet-W48 on COCO at 384×288 in the official code's Gaussian form, with 1.5 bins a pixel.
_base_ = ['simcc_hrnet-w48_4xb32-210e_coco-256x192.py']

# codec settings: σ in bins; targets that sum to 1
codec = dict(
    type='SimCCLabel',
    input_size=(288, 384),
    smoothing_type='gaussian',
    label_smooth_weight=0.0,
    sigma=4.0,
    simcc_split_ratio=1.5,
    normalize=True,
    use_dark=False)

model = dict(
    head=dict(
        input_size=codec['input_size'],
        in_featuremap_size=(72, 96),
        simcc_split_ratio=codec['simcc_split_ratio'],
        decoder=codec))

# pipelines
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.65, 1.35), rotate_factor=90.0),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
