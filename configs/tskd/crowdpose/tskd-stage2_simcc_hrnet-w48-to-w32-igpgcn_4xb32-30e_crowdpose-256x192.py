# Stage 2 on CrowdPose: the student of stage 1 is frozen, and the pose of SimCC HRNet-W48 trains the IGP-GCN.
_base_ = ['simcc_hrnet-w32-igpgcn_crowdpose-256x192.py']

# runtime
max_epochs = 30
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

# optimizer
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))

# learning policy: one epoch from 1e-5 to 1e-3, then down to 1e-5
param_scheduler = [
    dict(type='LinearLR', begin=0, end=1, start_factor=0.01, by_epoch=True, convert_to_iter_based=True),  # warm-up
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True),
]

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/../../simcc/crowdpose/simcc_hrnet-w48_4xb32-210e_crowdpose-256x192.py',
    teacher_checkpoint='checkpoints/simcc_hrnet-w48_crowdpose-256x192.pth',
    student_checkpoint='work_dirs/tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192',
    frozen=('backbone', 'head.base_head'),
    task_loss=False,
    distill_losses=dict(loss_refine=dict(type='ProgressivePoseLoss')))

# hooks
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3))
