# RTMPose-s refined by IGP-GCN, as it is tested and deployed: a plain estimator, no teacher.
_base_ = ['mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

# the backbone's maps at 1/8, 1/16 and 1/32; RTMPose's own head reads the last
model = dict(
    backbone=dict(out_indices=(2, 3, 4), init_cfg=None),
    head=dict(
        _delete_=True,
        type='IGPGCNHead',
        base_head=_base_.model.head,
        in_channels=(512, 256, 128),
        in_indices=(2, 1, 0)))
