# SimCC with HRNet-W32 refined by IGP-GCN, as it is tested and deployed: a plain estimator, no teacher.
_base_ = ['simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

model = dict(
    backbone=dict(type='MultiBranchHRNet', branches=(2, 1, 0), init_cfg=None),
    head=dict(
        _delete_=True,
        type='IGPGCNHead',
        base_head=_base_.model.head,
        metainfo='CocoDataset',
        in_channels=(128, 64, 32),
        in_indices=(0, 1, 2),
        feat_channels=(256, 128, 128),
        hidden_channels=128,
        feature_adaption=True,
        output='offset',
        resample=False,
        refine_score_thr=None))
