# A heatmap teacher for a SimCC student: features by an adapter, pose and limbs in input pixels. The plain student is the
# quickstart's baseline; the weights are those of the quickstart's stage 1.
_base_ = ['../../simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/td-hm_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/td-hm_hrnet-w32-tiny_14e_synthetic-crowd-96x64',
    distill_losses=dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=16, teacher_channels=32, loss_weight=4e-3),
        loss_pose=dict(type='PoseL1Loss', loss_weight=0.02),
        loss_structure=dict(type='StructureLoss', loss_weight=0.02)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
