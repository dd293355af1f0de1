# SimCC with HRNet-W32 refined by IGP-GCN on CrowdPose, as it is tested and deployed: a plain estimator, no teacher.
_base_ = ['../../simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py']

# the labels in input pixels, for training the refiner on them
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PackPoseInputs', pack_transformed=True)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(type='MultiBranchHRNet', branches=(2, 1, 0), init_cfg=None),
    head=dict(_delete_=True, type='IGPGCNHead', base_head=_base_.model.head, feature_adaption=True))
