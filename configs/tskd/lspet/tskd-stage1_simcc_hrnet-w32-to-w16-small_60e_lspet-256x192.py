# Stage 1 on LSPET at 256×192: the student's own config, taught by HRNet-W32.
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_60e_lspet-256x192.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/../../simcc/lspet/simcc_hrnet-w32_100e_lspet-256x192.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32_100e_lspet-256x192',
    # weights from those at 128×96; not tried at this size
    distill_losses=dict(
        loss_feat=dict(student_channels=16, teacher_channels=32, loss_weight=4e-3),
        loss_pose=dict(loss_weight=0.02),
        loss_structure=dict(loss_weight=0.02)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
