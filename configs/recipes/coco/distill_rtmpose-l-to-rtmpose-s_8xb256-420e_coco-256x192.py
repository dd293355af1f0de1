# RTMPose-l teaches RTMPose-s on COCO. RTMPose's pipelines need albumentations 1.3.1: pip install "mmpose_tskd[rtmpose]"
_base_ = ['mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-l_8xb256-420e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/'
    'rtmpose-l_simcc-coco_pt-aic-coco_420e-256x192-1352a4d2_20230127.pth',
    # DWPose's losses and weights (7e-5 and 0.1) for this pair. They are for 64 people a GPU: the head's KLDiscretLoss sums over
    # them, so with 256 the others have to weigh four times as much
    distill_losses=dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=512, teacher_channels=1024, loss_weight=4 * 7e-5),
        loss_logit=dict(type='SimCCLogitKDLoss', loss_weight=4 * 0.1)))

# hooks
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='SyncBuffersHook'),
    dict(type='ReliableRunHook'),
    dict(type='SafeSamplesHook'),
    dict(type='BoxSourceHook'),
    dict(type='DistillWeightDecayHook'),
]
