# Stage 1 on LSPET: the student's own config, taught by the 6 M teacher.
_base_ = ['simcc_hrnet-w16-small_12e_lspet-128x96.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/simcc_hrnet-w32-small_26e_lspet-128x96.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-small_26e_lspet-128x96',
    distill_losses=dict(
        loss_feat=dict(student_channels=16, teacher_channels=32),
        loss_structure=dict(metainfo=_base_.dataset_type)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
