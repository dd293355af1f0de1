# Stage 1 of the quickstart: the student's own config, taught by the 3 M teacher.
_base_ = ['simcc_hrnet-w8-tiny_8e_synthetic-crowd-96x64.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64',
    distill_losses=dict(
        loss_feat=dict(student_channels=8, teacher_channels=32),
        loss_structure=dict(metainfo=_base_.dataset_type)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
