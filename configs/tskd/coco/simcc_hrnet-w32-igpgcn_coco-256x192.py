# SimCC with HRNet-W32 refined by IGP-GCN, as it is tested and deployed: a plain estimator, no teacher.
_base_ = ['../../simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

# the labels in input pixels, for training the refiner on them
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PackPoseInputs', pack_transformed=True)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(type='MultiBranchHRNet', branches=(2, 1, 0), init_cfg=None),
    head=dict(
        _delete_=True,
        type='IGPGCNHead',
        base_head=_base_.model.head,
        in_channels=(128, 64, 32),
        in_indices=(0, 1, 2),
        feat_channels=(256, 128, 128),
        hidden_channels=128,
        feature_adaption=True,
        output='offset',
        resample=False,
        refine_score_thr=None))
