# Stage 1 of the quickstart: the student's own config, taught by the 3 M teacher.
_base_ = ['../../simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/../../simcc/synthetic_crowd/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64',
    # The paper's α and β are for 210 epochs from ImageNet weights. From random weights in ten epochs (docs/research/short_budget.md) the
    # features have to lead, and poses and limbs that are read from wide distributions to stand back.
    distill_losses=dict(
        loss_feat=dict(student_channels=16, teacher_channels=32, loss_weight=4e-3),
        loss_pose=dict(loss_weight=0.02),
        loss_structure=dict(loss_weight=0.02)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
