# Heatmap to heatmap on COCO: HRNet-W48 teaches ResNet-50, both with DARK's targets.
_base_ = ['mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_dark-8xb64-210e_coco-256x192.py']

custom_imports = dict(imports=['mmpose_tskd'])

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w48_dark-8xb32-210e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w48_dark-8xb32-210e_coco-256x192-e1ebdd6f_20220913.pth',
    # labels and teacher weigh alike: both are mean squares of the same heatmaps
    distill_losses=dict(loss_logit=dict(type='HeatmapMSELoss', loss_weight=1.0)))

# hooks
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ReliableRunHook'),
    dict(type='SafeSamplesHook'),
    dict(type='BoxSourceHook'),
    dict(type='DistillWeightDecayHook'),
]
