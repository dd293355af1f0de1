# IKD on MPII: the terms and weights of IKD on COCO, with MPII's teacher.
_base_ = ['td-hm_res18-small_8xb64-210e_mpii-256x256.py']

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/mpii/td-hm_res50_8xb64-210e_mpii-256x256.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/top_down/resnet/res50_mpii_256x256-418ffc88_20200812.pth',
    distill_losses=dict(
        loss_logit=dict(type='HeatmapMSELoss', use_target_weight=True, loss_weight=1.0),
        loss_feature=dict(
            type='FeatureMSELoss', student_channels=512, teacher_channels=2048, reduction='mean', loss_weight=2e-3),
        loss_structure=dict(type='JointAffinityLoss', loss_weight=3e-3)))
