# Stage 2 on LSPET at 256×192: the student of stage 1 is frozen, the teacher's pose trains the graph network.
_base_ = ['simcc_hrnet-w16-small-igpgcn_lspet-256x192.py']

# runtime
max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=1e-3),
    clip_grad=dict(max_norm=1.0))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.01, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
]

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/../../simcc/lspet/simcc_hrnet-w32_100e_lspet-256x192.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32_100e_lspet-256x192',
    student_checkpoint='work_dirs/tskd-stage1_simcc_hrnet-w32-to-w16-small_60e_lspet-256x192',
    frozen=('backbone', 'head.base_head'),
    task_loss=False,
    distill_losses=dict(loss_refine=dict(type='ProgressivePoseLoss', stage_weights=(0.3, 0.5, 1.0))))
