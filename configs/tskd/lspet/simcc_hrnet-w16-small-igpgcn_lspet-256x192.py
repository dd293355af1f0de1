# The refined model on LSPET at 256×192, as it is deployed: a plain estimator, no teacher.
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_60e_lspet-256x192.py']

# the labels in input pixels, for training the refiner on them
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PackPoseInputs', pack_transformed=True)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(type='MultiBranchHRNet', branches=(2, 1, 0)),
    head=dict(
        _delete_=True,
        type='IGPGCNHead',
        base_head=_base_.model.head,
        in_channels=(64, 32, 16),
        feat_channels=(128, 64, 64),
        feature_adaption=False))
