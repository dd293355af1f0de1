# SimCC with HRNet-W48 on COCO at 384×288 in the official code's Gaussian form, with 1.5 bins a pixel.
_base_ = ['simcc_hrnet-w48-gaussian_4xb32-210e_coco-256x192.py']

# codec settings
codec = dict(_base_.codec, input_size=(288, 384), simcc_split_ratio=1.5)

model = dict(
    head=dict(
        input_size=codec['input_size'],
        in_featuremap_size=(72, 96),
        simcc_split_ratio=codec['simcc_split_ratio'],
        decoder=codec))

# pipelines
affine = dict(type='TopdownAffine', input_size=codec['input_size'])
train_pipeline = [
    *_base_.train_pipeline[:-3],
    affine,
    dict(type='GenerateTarget', encoder=codec),
    _base_.train_pipeline[-1],
]
test_pipeline = [*_base_.test_pipeline[:-2], affine, _base_.test_pipeline[-1]]

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
