# Stage 1 on LSPET: the student's own config, taught by the 6 M teacher.
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_8e_lspet-128x96.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/../../simcc/lspet/simcc_hrnet-w32-small_12e_lspet-128x96.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-small_12e_lspet-128x96',
    # The paper's α and β are for 210 epochs from ImageNet weights. From random weights in ten epochs (docs/research/short_budget.md) the
    # features have to lead, and poses and limbs that are read from wide distributions to stand back.
    distill_losses=dict(
        loss_feat=dict(student_channels=16, teacher_channels=32, loss_weight=4e-3),
        loss_pose=dict(loss_weight=0.02),
        loss_structure=dict(loss_weight=0.02)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
