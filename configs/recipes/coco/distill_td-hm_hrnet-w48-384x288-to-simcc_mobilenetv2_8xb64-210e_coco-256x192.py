# A heatmap teacher for a SimCC student, in more pixels: HRNet-W48 at 384×288 teaches MobileNetV2 at 256×192 on COCO.
_base_ = ['mmpose::body_2d_keypoint/simcc/coco/simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-384x288.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w48_8xb32-210e_coco-384x288-c161b7de_20220915.pth',
    # β gives the two, at initialization, about the share of the head's own gradient that they have in stage1_structure.py; it
    # is smaller than there because MMPose's KLDiscretLoss averages over the bins and keypoints
    distill_losses=dict(
        loss_pose=dict(type='PoseL1Loss', loss_weight=2e-4),
        loss_structure=dict(type='StructureLoss', loss_weight=2e-4)))

# hooks
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ReliableRunHook'),
    dict(type='SafeSamplesHook'),
    dict(type='BoxSourceHook'),
    dict(type='DistillWeightDecayHook'),
]
