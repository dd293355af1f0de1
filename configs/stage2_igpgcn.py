# Stage 2 on COCO at 256×192: the student of stage 1 is frozen, and the pose of SimCC HRNet-W48 trains the IGP-GCN that refines
# its pose in three steps.
_base_ = ['tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py']

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
    teacher='{{ fileDirname }}/simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
    teacher_checkpoint='checkpoints/simcc_hrnet-w48_coco-256x192.pth',
    student_checkpoint='work_dirs/stage1_structure',
    frozen=('backbone', 'head.base_head'),
    task_loss=False,
    distill_losses=dict(
        # Eq. 6 and 7
        loss_refine=dict(type='ProgressivePoseLoss', stage_weights=(0.3, 0.5, 1.0), labeled_only=True)))

# hooks
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3))
