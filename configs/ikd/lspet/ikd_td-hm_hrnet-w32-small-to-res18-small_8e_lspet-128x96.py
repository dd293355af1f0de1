# IKD on LSPET: logits, features and structure, with the weights of IKD on COCO.
_base_ = ['td-hm_res18-small_8e_lspet-128x96.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/td-hm_hrnet-w32-small_24e_lspet-128x96.py',
    teacher_checkpoint='work_dirs/td-hm_hrnet-w32-small_24e_lspet-128x96',
    distill_losses=dict(
        loss_logit=dict(type='HeatmapMSELoss', use_target_weight=True, loss_weight=1.0),
        loss_feature=dict(
            type='FeatureMSELoss', student_channels=512, teacher_channels=32, reduction='mean', loss_weight=2e-3),
        loss_structure=dict(type='JointAffinityLoss', loss_weight=3e-3)))
