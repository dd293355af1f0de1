# IKD on the synthetic crowd: logits, features and structure. From random weights a ResNet-50 learns too slowly on images as
# small as these to teach anything (1.9 AP after 4 epochs), so a small HRNet stands in for it.
_base_ = ['td-hm_res18-small_10e_synthetic-crowd-96x64.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/td-hm_hrnet-w32-tiny-16x24_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/td-hm_hrnet-w32-tiny-16x24_14e_synthetic-crowd-96x64',
    distill_losses=dict(
        loss_logit=dict(type='HeatmapMSELoss', use_target_weight=True, loss_weight=1.0),
        loss_feature=dict(
            type='FeatureMSELoss', student_channels=512, teacher_channels=32, reduction='mean', loss_weight=2e-3),
        loss_structure=dict(type='JointAffinityLoss', loss_weight=3e-3)))
